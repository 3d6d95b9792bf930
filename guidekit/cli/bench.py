"""`guidekit bench`: ratios measured in one run on this machine."""

from __future__ import annotations

import platform
from typing import Any

import torch
from rich.console import Console

from guidekit.domain import UnknownNameError

SUITES = ("speed",)


def run(config: dict[str, Any]) -> None:
    """Run a suite and print its table."""
    if config["suite"] not in SUITES:
        raise UnknownNameError("suite", config["suite"], SUITES)
    if config["repeats"] < 1:
        raise ValueError(f"repeats={config['repeats']}; at least 1 is needed")
    from guidekit.bench import speed

    torch.manual_seed(config["seed"])
    console = Console()
    console.print(speed.run(config["repeats"]))
    console.print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
