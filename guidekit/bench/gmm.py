"""Distance to the exact posterior of a mixture of 25 Gaussians: the linear inverse problem of MCGDiff.

Source of the protocol: Cardoso et al. 2023, arXiv:2308.07983, and its code, of which settings were read.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from guidekit import registry
from guidekit.bench.gmm_problem import SAMPLES, fitted, problem, times
from guidekit.bench.posterior import counts
from guidekit.bench.record import opened, written
from guidekit.bench.solvers import RECOMMENDED, Solver, chosen
from guidekit.commands.sample import progress_bar
from guidekit.core.sampler import Sampler
from guidekit.guidance.particles.resampling import systematic
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.processes.grids import Levels
from guidekit.reporting.console import Console
from guidekit.running.build import build_sampler
from guidekit.samplers import DDIM, Ancestral, DPMSolver
from guidekit.sampling import Result, sample
from guidekit.weighting import pooled

ETAS = {20: 0.6, 100: 0.85}
"""Noise of DDIM by number of steps; 0.85 for all others."""

DIMENSIONS, MEASURED = (8, 80, 800), (1, 2, 4)

GRID = Levels(0.5, 200.0, rho=30.0)
"""Noise levels of filters: components are wider than the last one, from which the last draw is made."""

FILTERS = {
    "twisted_smc": (
        Solver("twisted_smc", sampler=DPMSolver(1.0, times=GRID)),
        Solver("twisted_smc", {"refreshes": 4}, DPMSolver(1.0, times=GRID), "refreshes=4"),
        Solver(
            "twisted_smc",
            {"covariance": "average", "proposal": "prior"},
            DPMSolver(1.0, times=GRID),
            "average, no tilt",
        ),
        Solver(
            "twisted_smc",
            {"covariance": "pseudo_inverse", "window": (5.0, 0.0), "proposal": "prior"},
            DPMSolver(1.0, times=GRID),
            "pseudo_inverse below 5, no tilt",
        ),
    ),
    "ddsmc": (Solver("ddsmc", sampler=Ancestral(times=GRID)),),
}
"""Filters with settings for this problem."""

EXACT, UNGUIDED = "exact draws", "prior"

REFERENCES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "MCGDiff, its own code, measured": {
        "20": {
            **{"8,1": "1.57+-.63", "8,2": ".72+-.44", "8,4": ".51+-.27"},
            **{"80,1": "1.91+-.72", "80,2": "1.10+-.45", "80,4": ".53+-.15"},
            **{"800,1": "2.08+-1.21", "800,2": "1.70+-1.04", "800,4": ".47+-.13"},
        },
        "100": {
            **{"8,1": "1.03+-.33", "8,2": ".45+-.11", "8,4": ".39+-.20"},
            **{"80,1": "1.34+-.33", "80,2": "1.11+-.53", "80,4": ".77+-.64"},
        },
    },
    "DPS, step .1 / residual, measured": {
        "20": {
            **{"8,1": "4.86+-.89", "8,2": "5.69+-1.69", "8,4": "3.36+-.96"},
            **{"80,1": "5.41+-1.14", "80,2": "6.76+-1.41", "80,4": "4.54+-1.40"},
            **{"800,1": "7.04+-1.66", "800,2": "7.67+-2.59", "800,4": "4.29+-1.45"},
        },
        "100": {
            **{"8,1": "3.92+-1.23", "8,2": "1.70+-.92", "8,4": "1.03+-.70"},
            **{"80,1": "2.77+-.94", "80,2": "3.24+-1.41", "80,4": "1.30+-1.03"},
        },
    },
    "MCGDiff, its paper, from memory": {
        "20": {
            **{"8,1": "1.43+-.55", "8,2": ".49+-.24", "8,4": ".38+-.27"},
            **{"80,1": "1.39+-.45", "80,2": ".67+-.24", "80,4": ".28+-.14"},
            **{"800,1": "2.40+-1.00", "800,2": "1.31+-.60", "800,4": ".47+-.19"},
        }
    },
    "DPS, same paper, from memory": {
        "20": {
            **{"8,1": "4.86+-1.01", "8,2": "5.79+-1.96", "8,4": "3.60+-.88"},
            **{"80,1": "4.98+-1.14", "80,2": "5.10+-1.23", "80,4": "4.28+-1.26"},
            **{"800,1": "6.49+-1.16", "800,2": "6.88+-1.01", "800,4": "5.51+-1.18"},
        }
    },
    "DDRM, same paper, from memory": {
        "20": {
            **{"8,1": "5.88", "8,2": "5.20", "8,4": "4.01"},
            **{"80,1": "5.64", "80,2": "7.07", "80,4": "7.81"},
            **{"800,1": "7.44", "800,2": "8.95", "800,4": "8.39"},
        }
    },
}
"""Figures of others: measured on problems of this protocol (MCGDiff with its own code; 6 problems at d = 800), or as
the paper's table is remembered, which nobody has checked against it."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What all cells have in common.

    Args:
        problems: how many.
        seed: of the draws.
        particles, groups: of filters: so many populations of so many particles, all of which are samples.
        variance: of the components.
        pooled: take all groups of a filter as one population, each as much as its evidence; see `guidekit.weighting`.
    """

    problems: int = 20
    seed: int = 0
    particles: int = 1000
    groups: int = 2
    variance: float = 1.0
    pooled: bool = False

    def __post_init__(self) -> None:
        """Check that distances and intervals can be made of it."""
        if self.problems < 2:
            raise ValueError(f"problems={self.problems}; 2 at least are needed for an interval")
        if SAMPLES % (self.particles * self.groups):
            raise ValueError(
                f"particles={self.particles}, groups={self.groups}: {self.particles * self.groups} samples of a "
                f"filter; a divisor of {SAMPLES} is needed, such as 1000 x 2, 1000 x 1 or 16 x 125"
            )


def measured(
    solver: Solver | None, d: int, dy: int, steps: int, protocol: Protocol, sampler: Sampler | None = None
) -> dict[str, Any]:
    """Distances of a solver to the exact posteriors, one a problem.

    Args:
        solver: None is no guidance.
        d, dy: dimensions of states and measurements.
        steps: network calls of the sampler.
        protocol: see there.
        sampler: None is that of a filter, and for all others DDIM on the grid of the protocol.

    Returns:
        "values", None where samples are not finite; "rows" of the network and "backward" passes a sample; "seconds".
    """
    began, found, rows, backward = time.perf_counter(), [], 0.0, 0.0
    for number in range(protocol.problems):
        one = problem(d, dy, number, protocol.variance)
        values = torch.linalg.svdvals(one.a).tolist()
        by: Sampler | None = sampler or DDIM(eta=ETAS.get(steps, 0.85), times=times(values, one.std, steps))
        guidance, groups = None, SAMPLES
        if solver is not None:
            likelihood = GaussianLikelihood(one.operator, one.y, one.std)
            if weighs(solver):
                solver = dataclasses.replace(
                    solver, options={**solver.options, "particles": protocol.particles, "output": "all"}
                )
                groups = protocol.groups
            guidance = solver.made(likelihood, lambda one=one: fitted(one.prior))  # type: ignore[misc]
            if sampler is None and weighs(solver):
                asked = any(member.default_sampler is not None for member in guidance.members)
                by = solver.sampler or (None if asked else by)
        try:
            result = sample(one.prior, guidance, groups, steps, protocol.seed + number, by)
        except ArithmeticError:  # a solver that says itself that it has diverged
            found.append(math.nan)
            continue
        made, ledger = len(result.samples), result.ledger
        rows = ledger.network_rows / made
        backward = ledger.backward_passes * rows / max(1, ledger.network_calls)
        pool = protocol.pooled and "log tilt" in result.info
        draws = pooled(result).samples(made, protocol.seed) if pool else unweighted(result, protocol.seed + number)
        found.append(one.distance(draws))
    return {
        "values": [None if math.isnan(one) else round(one, 4) for one in found],
        "rows": round(rows, 2),
        "backward": round(backward, 2),
        "seconds": round(time.perf_counter() - began, 1),
    }


def weighs(solver: Solver) -> bool:
    """Whether a solver is a filter, whose particles can all be had."""
    settings = {setting.name for setting in registry.settings(registry.get("guidance", solver.guidance))}
    return {"particles", "output"} <= settings


def unweighted(result: Result, seed: int) -> Tensor:
    """As many samples as there are, those of a group drawn by their weights."""
    size = result.log_weights.shape
    dead = result.log_weights.isneginf().all(1, keepdim=True)
    weights = torch.softmax(result.log_weights.masked_fill(dead, 0.0), 1)
    uniform = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    chosen = systematic(weights, uniform) + torch.arange(size[0])[:, None] * size[1]
    return result.samples[chosen.flatten()]


def floor(d: int, dy: int, protocol: Protocol) -> dict[str, Any]:
    """Distances of exact draws to other exact draws."""
    found = [problem(d, dy, number, protocol.variance) for number in range(protocol.problems)]
    return {"values": [round(one.distance(one.exact[SAMPLES:]), 4) for one in found], "rows": 0.0, "seconds": 0.0}


def run(config: dict[str, Any], console: Console) -> dict[str, Any]:
    """Measure every solver in every cell and print them beside others' figures; `output` is completed cell by cell.

    Raises:
        ValueError: settings that cannot work, before anything is sampled.
    """
    dimensions, lengths = among("d", config["d"], DIMENSIONS, (8, 80)), among("dy", config["dy"], MEASURED, MEASURED)
    steps, protocol = counts(config["steps"], (20, 100)), protocol_of(config)
    wanted = chosen(config["guidances"] if config["guidances"] != ["none"] else None, {**RECOMMENDED, **FILTERS})
    sampler = build_sampler(config["sampler"])
    settings = {**dataclasses.asdict(protocol), "sampler": config["sampler"]}
    record = opened(config["output"], settings, config["overwrite"], "cells")
    titles = [EXACT, UNGUIDED, *(solver.title for solver in wanted)]
    with progress_bar(console) as bar:
        task = bar.add_task("", text="")
        for title, solver in zip(titles, [None, None, *wanted], strict=True):
            for d in dimensions:
                for dy in lengths:
                    for count in [0] if title == EXACT else steps:
                        cells = record["cells"].setdefault(title, {}).setdefault(str(count), {})
                        if f"{d},{dy}" in cells:
                            continue
                        bar.update(task, description=title, text=f"d = {d}, dy = {dy}, {count} steps")
                        cells[f"{d},{dy}"] = _cell(title, solver, d, dy, count, protocol, sampler)
                        written(config["output"], record)
    places = [f"{d},{dy}" for d in dimensions for dy in lengths]
    for count in steps:
        console.print(table(record["cells"], titles, places, count))
    return record


def protocol_of(config: Mapping[str, Any]) -> Protocol:
    """What settings say of the protocol."""
    named = {field.name: config.get(field.name) for field in dataclasses.fields(Protocol)}
    return Protocol(**{name: value for name, value in named.items() if value is not None})


def _cell(
    title: str, solver: Solver | None, d: int, dy: int, steps: int, protocol: Protocol, sampler: Sampler | None
) -> dict[str, Any]:
    if title == EXACT:
        return floor(d, dy, protocol)
    try:
        return measured(solver, d, dy, steps, protocol, sampler)
    except (ValueError, RuntimeError) as error:
        return {"refused": " ".join(str(error).split())}


def among(name: str, given: Any, known: Sequence[int], usual: Sequence[int]) -> list[int]:
    """Values of a setting; raises ValueError for one that the protocol has not."""
    found = list(usual) if given is None else given if isinstance(given, list) else [given]
    for one in found:
        if one not in known:
            raise ValueError(f"{name}={given}; one of {', '.join(map(str, known))}, or a list of them, is needed")
    return found


def table(cells: Mapping[str, Any], titles: Sequence[str], places: Sequence[str], steps: int) -> Table:
    """A row a solver, a column a cell: mean +- 1.96 sd / sqrt(n), and how many problems have failed; and passes."""
    made = Table(title=f"sliced Wasserstein distance to the exact posterior, {steps} steps", title_justify="left")
    made.add_column("guidance")
    for place in places:
        made.add_column(f"d, dy = {place}", justify="right")
    made.add_column("passes a sample", justify="right")
    for title in titles:
        row = cells.get(title, {}).get("0" if title == EXACT else str(steps), {})
        made.add_row(title, *(shown(row.get(place, {})) for place in places), passes(row, places))
    for title, others in REFERENCES.items():
        if str(steps) in others:
            made.add_row(title, *(others[str(steps)].get(place, "-") for place in places), "", style="dim")
    return made


def shown(cell: Mapping[str, Any]) -> str:
    """A cell as tables have it."""
    if "values" not in cell:
        return "n/a" if cell else "-"
    values = [one for one in cell["values"] if one is not None]
    failed = len(cell["values"]) - len(values)
    told = "-"
    if len(values) > 1:
        told = f"{statistics.fmean(values):.2f}+-{1.96 * statistics.stdev(values) / math.sqrt(len(values)):.2f}"
    return f"{told} ({failed} failed)" if failed else told


def passes(row: Mapping[str, Any], places: Sequence[str]) -> str:
    """Forward and backward passes of the network a sample, as "20 + 40"; several where cells differ."""
    told = [row[place] for place in places if "rows" in row.get(place, {})]
    each = dict.fromkeys(f"{one['rows']:g} + {one.get('backward', 0.0):g}" for one in told)
    return ", ".join(each)
