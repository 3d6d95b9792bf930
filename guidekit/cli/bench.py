"""`guidekit bench`: ratios of seconds, or figures of several guidances, measured in one run on this machine."""

from __future__ import annotations

import platform
from typing import Any

import torch

from guidekit.console import Console
from guidekit.domain import UnknownNameError

SUITES = ("speed", "guidance")


def run(config: dict[str, Any]) -> None:
    """Run a suite and print its table."""
    if config["suite"] not in SUITES:
        raise UnknownNameError("suite", config["suite"], SUITES)
    if config["repeats"] < 1:
        raise ValueError(f"repeats={config['repeats']}; at least 1 is needed")
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # tables in files are not cut
    if config["suite"] == "guidance":
        from guidekit.bench import guidance

        guidance.run(config, console)
    else:
        from guidekit.bench import speed

        torch.manual_seed(config["seed"])
        console.print(speed.run(config["repeats"]))
    console.print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
