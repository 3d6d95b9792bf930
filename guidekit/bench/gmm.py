"""Distance to the exact posterior of a mixture of 25 Gaussians: the linear inverse problem of MCGDiff.

Source of the protocol: Cardoso et al. 2023, arXiv:2308.07983, and its code, of which settings were read.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from guidekit.bench.posterior import counts
from guidekit.bench.record import opened, written
from guidekit.bench.solvers import Solver, chosen
from guidekit.commands.sample import progress_bar
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.sampler import Sampler
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.objectives.operators.dense import Dense
from guidekit.priors.gaussian_field import GaussianField
from guidekit.processes.gaussian import GaussianProcess
from guidekit.processes.tables import TableVP
from guidekit.reporting.console import Console
from guidekit.running.build import build_sampler
from guidekit.samplers import DDIM
from guidekit.sampling import sample

SAMPLES = 2000
SLICES = 100
ETAS = {20: 0.6, 100: 0.85}
"""Noise of DDIM by number of steps; 0.85 for all others."""

DIMENSIONS, MEASURED = (8, 80, 800), (1, 2, 4)

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


class UnitMixture(Prior):
    """sum_k w_k N(m_k, I), whose denoiser takes two matrix products however many dimensions there are.

    Args:
        means: (K, D) float64.
        log_w: (K,).
        process: forward process.
    """

    name = "mixture of unit Gaussians"
    dtype = torch.float64
    process: GaussianProcess

    def __init__(self, means: Tensor, log_w: Tensor, process: GaussianProcess) -> None:
        self.means, self.log_w, self.process = means, log_w, process
        self.event_shape = (1, means.shape[1])

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """Exact posterior mean."""
        a, s = self.process.coefficients(t)
        aa, ss = (torch.as_tensor(v, dtype=x.dtype).reshape(-1, 1) for v in (a, s))
        flat, variance = x.flatten(1), aa * aa + ss * ss
        fits = (aa * (flat @ self.means.T) - 0.5 * aa * aa * self.means.square().sum(1)) / variance
        centers = torch.softmax(self.log_w + fits, 1) @ self.means
        mean = (aa * flat + ss * ss * centers) / variance
        return GaussianPrediction(mean.view_as(x), x, a, s)


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One measurement.

    Attributes:
        prior: its mixture, with weights of its own.
        a, y, std: the measurement y = A x + std noise.
        exact: exact draws, twice `SAMPLES`, (n, D).
        slices: directions, (D, `SLICES`).
    """

    prior: UnitMixture
    a: Tensor
    y: Tensor
    std: float
    exact: Tensor
    slices: Tensor

    @cached_property
    def operator(self) -> Dense:
        """A."""
        return Dense(self.a, self.prior.event_shape)

    def distance(self, samples: Tensor) -> float:
        """Mean over slices of the Wasserstein-1 distance to the exact draws; NaN where samples are not finite."""
        if not bool((samples.abs() < 1e6).all()):
            return math.nan
        seen, known = (
            (one.double() @ self.slices).sort(0).values for one in (samples.flatten(1), self.exact[:SAMPLES])
        )
        return float((seen - known).abs().mean())


def problem(d: int, dy: int, number: int) -> Problem:
    """A problem of the protocol, the same in every run.

    25 components with means (-8 i, -8 j) repeated, weights the squares of normal numbers; A with singular values
    uniform on [0, 1]; noise a uniform share of the largest of them.
    """
    rng = np.random.default_rng(1000 * d + 10 * dy + number)
    means = np.array([[-8.0 * (i, j)[k % 2] for k in range(d)] for i in range(-2, 3) for j in range(-2, 3)])
    weights = rng.standard_normal(25) ** 2
    weights /= weights.sum()
    u, _, v = np.linalg.svd(rng.standard_normal((dy, d)), full_matrices=False)
    values = np.sort(rng.uniform(size=dy))[::-1]
    a = (u * values) @ v
    std = float(rng.uniform() * values.max())
    truth = means[rng.choice(25, p=weights)] + rng.standard_normal(d)
    y = a @ truth + std * rng.standard_normal(dy)
    law = a @ a.T + std**2 * np.eye(dy)
    gap = y - means @ a.T
    evidence = np.log(weights) - 0.5 * np.einsum("ki,ij,kj->k", gap, np.linalg.inv(law), gap)
    after = np.exp(evidence - evidence.max())
    count = 2 * SAMPLES
    x = means[rng.choice(25, count, p=after / after.sum())] + rng.standard_normal((count, d))
    x += np.linalg.solve(law, (y + std * rng.standard_normal((count, dy)) - x @ a.T).T).T @ a
    slices = rng.standard_normal((d, SLICES))
    prior = UnitMixture(torch.tensor(means), torch.tensor(np.log(weights)), PROCESS)
    slices /= np.linalg.norm(slices, axis=0)
    return Problem(prior, torch.tensor(a), torch.tensor(y)[None], std, torch.tensor(x), torch.tensor(slices))


BETAS = tuple(float(beta) for beta in np.linspace(0.02, 1e-4, 999))
PROCESS = GaussianProcess(TableVP(BETAS))


def times(values: Sequence[float], std: float, steps: int) -> list[float]:
    """`steps` + 1 times of the protocol, from 1 to 0: even in the signal, with the levels that the measurement has.

    Args:
        values: singular values of A.
        std: of its noise; a level is where the noise of the state is that of a measured direction, s / a = std / value.
        steps: network calls.
    """
    signal = np.concatenate([[1.0], np.sqrt(np.cumprod(1 - np.array(BETAS)))])
    power = signal**2
    levels = {int(np.abs(std**2 * power - (1 - power) * value**2).argmin()) for value in values} - {0}
    end = int((signal < 1e-2).argmax())
    gap = (1 - signal[end]) / max(1, steps - len(levels))
    chosen_, last = [0], 1.0
    for index in range(1, end):
        if last - signal[index] >= gap or index in levels:
            chosen_.append(index)
            last = float(signal[index])
    left = steps + 1 - len(chosen_)
    more = np.ceil(np.linspace(chosen_[-1], len(BETAS), max(left, 1) + 1))[1:]
    indices = sorted({*chosen_, *(int(one) for one in more)}, reverse=True)
    return [index / len(BETAS) for index in indices]


def measured(
    solver: Solver | None, d: int, dy: int, steps: int, problems: int, sampler: Sampler | None = None, seed: int = 0
) -> dict[str, Any]:
    """Distances of a solver to the exact posteriors, one a problem.

    Args:
        solver: None is no guidance.
        d, dy: dimensions of states and measurements.
        steps: network calls of the sampler.
        problems: how many.
        sampler: None is DDIM on the grid of the protocol.
        seed: of the draws.

    Returns:
        "values", None where samples are not finite; "rows" of the network a sample; "seconds".
    """
    began, found, rows = time.perf_counter(), [], 0.0
    for number in range(problems):
        one = problem(d, dy, number)
        values = torch.linalg.svdvals(one.a).tolist()
        by = sampler or DDIM(eta=ETAS.get(steps, 0.85), times=times(values, one.std, steps))
        guidance = None
        if solver is not None:
            likelihood = GaussianLikelihood(one.operator, one.y, one.std)
            guidance = solver.made(likelihood, lambda one=one: fitted(one.prior))  # type: ignore[misc]
        try:
            result = sample(one.prior, guidance, SAMPLES, steps, seed + number, by)
        except ArithmeticError:  # a solver that says itself that it has diverged
            found.append(math.nan)
            continue
        rows = result.ledger.network_rows / SAMPLES
        found.append(one.distance(result.samples))
    return {
        "values": [None if math.isnan(one) else round(one, 4) for one in found],
        "rows": round(rows, 2),
        "seconds": round(time.perf_counter() - began, 1),
    }


def fitted(prior: UnitMixture, draws: int = 4000) -> GaussianField:
    """The Gaussian field of so many draws from a mixture."""
    generator = torch.Generator().manual_seed(17)
    which = torch.multinomial(prior.log_w.exp(), draws, replacement=True, generator=generator)
    states = prior.means[which]
    states = states + torch.randn(states.shape, generator=generator, dtype=torch.float64)
    return GaussianField.fit(states[:, None], basis="dense", process=prior.process)


def floor(d: int, dy: int, problems: int) -> dict[str, Any]:
    """Distances of exact draws to other exact draws."""
    found = [problem(d, dy, number) for number in range(problems)]
    return {"values": [round(one.distance(one.exact[SAMPLES:]), 4) for one in found], "rows": 0.0, "seconds": 0.0}


def run(config: dict[str, Any], console: Console) -> dict[str, Any]:
    """Measure every solver in every cell and print them beside others' figures; `output` is completed cell by cell.

    Raises:
        ValueError: settings that cannot work, before anything is sampled.
    """
    dimensions, lengths = among("d", config["d"], DIMENSIONS, (8, 80)), among("dy", config["dy"], MEASURED, MEASURED)
    steps, problems = counts(config["steps"], (20, 100)), config["problems"] or 20
    if problems < 2:
        raise ValueError(f"problems={problems}; 2 at least are needed for an interval")
    wanted = chosen(config["guidances"] if config["guidances"] != ["none"] else None)
    sampler = build_sampler(config["sampler"])
    settings = {"problems": problems, "seed": config["seed"], "sampler": config["sampler"]}
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
                        cells[f"{d},{dy}"] = _cell(title, solver, d, dy, count, problems, sampler, config["seed"])
                        written(config["output"], record)
    places = [f"{d},{dy}" for d in dimensions for dy in lengths]
    for count in steps:
        console.print(table(record["cells"], titles, places, count))
    return record


def _cell(
    title: str, solver: Solver | None, d: int, dy: int, steps: int, problems: int, sampler: Sampler | None, seed: int
) -> dict[str, Any]:
    if title == EXACT:
        return floor(d, dy, problems)
    try:
        return measured(solver, d, dy, steps, problems, sampler, seed)
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
    """A row a solver, a column a cell: mean +- 1.96 sd / sqrt(n), and how many problems have failed."""
    made = Table(title=f"sliced Wasserstein distance to the exact posterior, {steps} steps", title_justify="left")
    made.add_column("guidance")
    for place in places:
        made.add_column(f"d, dy = {place}", justify="right")
    for title in titles:
        row = cells.get(title, {}).get("0" if title == EXACT else str(steps), {})
        made.add_row(title, *(shown(row.get(place, {})) for place in places))
    for title, others in REFERENCES.items():
        if str(steps) in others:
            made.add_row(title, *(others[str(steps)].get(place, "-") for place in places), style="dim")
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
