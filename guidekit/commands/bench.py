"""`guidekit bench`: ratios of seconds, figures of several guidances side by side, posteriors, or claims of methods."""

from __future__ import annotations

import platform
from typing import Any

import torch

from guidekit.errors import UnknownNameError
from guidekit.reporting.console import Console

SUITES = ("speed", "guidance", "posterior", "gmm", "fkc", "physics", "flow", "evidence")


def run(config: dict[str, Any]) -> None:
    """Run a suite and print its table."""
    if config["suite"] not in SUITES:
        raise UnknownNameError("suite", config["suite"], SUITES)
    if config["repeats"] < 1:
        raise ValueError(f"repeats={config['repeats']}; at least 1 is needed")
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # tables in files are not cut
    if config["suite"] == "evidence":
        from guidekit.evidence import run as evidence

        evidence.run(config, console)
        return
    if config["suite"] == "guidance":
        from guidekit.bench import guidance

        steps = 64 if config["steps"] is None else config["steps"]
        guidance.run(config | {"seeds": runs(config["seeds"]), "steps": steps}, console)
    elif config["suite"] == "posterior":
        from guidekit.bench import posterior

        posterior.run(config, console)
    elif config["suite"] == "gmm":
        from guidekit.bench import gmm

        gmm.run(config, console)
    elif config["suite"] == "fkc":
        from guidekit.bench import fkc

        fkc.run(config, console)
    elif config["suite"] == "physics":
        from guidekit.bench.physics import annealing

        annealing.run(config, console)
    elif config["suite"] == "flow":
        from guidekit.bench import flow

        flow.run(config, console)
    else:
        from guidekit.bench import speed

        torch.manual_seed(config["seed"])
        console.print(speed.run(config["repeats"]))
    console.print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )


def runs(seeds: object) -> int:
    """How many runs of every guidance: 1 where nothing is said.

    Raises:
        ValueError: a list, which is for `suite=evidence`, or another thing that is no number.
    """
    if seeds is not None and type(seeds) is not int:
        raise ValueError(f"seeds={seeds}; suite=guidance needs a whole number of runs, from seed= on")
    return 1 if seeds is None else seeds
