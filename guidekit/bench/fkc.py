"""Annealing a mixture of 40 Gaussians to a third of its temperature: Feynman-Kac correctors beside each other.

Source of the protocol: Skreta et al. 2025, arXiv:2503.02819 (means, widths, process, power), with our own metrics.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from guidekit.bench.gmm_problem import RoundMixture
from guidekit.bench.posterior import counts
from guidekit.bench.record import opened, written
from guidekit.commands.sample import progress_bar
from guidekit.core.guidance import Guidance, chain
from guidekit.core.sampler import Sampler
from guidekit.errors import UnknownNameError
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.particles.resampling import RESAMPLERS
from guidekit.guidance.particles.score_product import ScoreProduct
from guidekit.processes import VE
from guidekit.reporting.console import Console
from guidekit.samplers import DPMSolver, EulerMaruyama
from guidekit.sampling import sample

MODES, REACH, WIDTH = 40, 40.0, math.log1p(math.exp(2.0))
"""Number of Gaussians, half the side of the square of their means, and their width, which is the unit of states."""

LEVELS = (0.01 * 50 / WIDTH, 10 * 50 / WIDTH)
"""Least and most noise: the protocol has .01 and 10 for states in units of 50."""

POWER = 3.0
PARTICLES, SEEDS, STEPS = 4000, 5, (100, 300, 1000)
POINTS, GRID, SIDE = 1000, 1200, 56.0
LEAST = 0.0025
"""Share of particles from which a mode counts as found: a tenth of what it has in equal shares."""

EXACT = "exact draws"


@dataclasses.dataclass(frozen=True)
class Method:
    """How the power is sampled: a formulation and a sampler.

    Args:
        formulation: see `ScoreProduct`.
        sampler: of the run.
        threshold: see `ParticleFilter.ess_threshold`; 0 never resamples.
        weighted: whether the weights count in the end.
    """

    formulation: str
    sampler: Sampler
    threshold: float | None = 0.5
    weighted: bool = True

    def guidance(self, particles: int) -> Guidance:
        """The corrector of so many particles."""
        filtered = ParticleFilter(particles=particles, ess_threshold=self.threshold, output="all")
        return chain(ScoreProduct(POWER, formulation=self.formulation), filtered)


METHODS: Mapping[str, Method] = {
    "target_score_unweighted": Method("target_score", EulerMaruyama(), 0.0, False),
    "target_score": Method("target_score", EulerMaruyama()),
    "target_score_every_step": Method("target_score", EulerMaruyama(), None),
    "tempered_noise": Method("target_score", EulerMaruyama(noise=1 / POWER)),
    "scaled_noise": Method("scaled_noise", EulerMaruyama()),
    "scaled_noise_2m": Method("scaled_noise", DPMSolver(eta=1.0)),
    "scaled_noise_2m_eta_8": Method("scaled_noise", DPMSolver(eta=8.0)),
    "scaled_noise_2m_eta_16": Method("scaled_noise", DPMSolver(eta=16.0), 0.8),
}
"""By name: the published formulations, and ours."""


@cache
def means() -> Tensor:
    """Of the modes, (40, 2), in the unit of the figures."""
    return (torch.rand(MODES, 2, generator=torch.Generator().manual_seed(0)) - 0.5) * 2 * REACH


@cache
def law() -> tuple[Tensor, Tensor]:
    """Centers (n, 2) of the cells of a fine grid, and the share (n,) of the power of the mixture in each."""
    axis = ((torch.arange(GRID) + 0.5) / GRID * 2 - 1) * SIDE
    x, y = (torch.exp(-0.5 * ((axis[:, None] - place) / WIDTH).square()).double() for place in means().T)
    power = (x @ y.T) ** POWER
    return torch.cartesian_prod(axis, axis), (power / power.sum()).flatten()


@cache
def masses() -> Tensor:
    """Share of the power of the mixture that is nearest to each mode, (40,)."""
    cells, shares = law()
    return torch.zeros(MODES, dtype=torch.float64).index_add_(0, nearest(cells), shares)


def prior() -> RoundMixture:
    """The mixture itself, (1, 2) a state."""
    equal = torch.full((MODES,), -math.log(MODES), dtype=torch.float64)
    return RoundMixture(means().double() / WIDTH, equal, VE(*LEVELS))


def exact(count: int, generator: torch.Generator) -> Tensor:
    """Draws (count, 2) from the power of the mixture, within a cell of the grid."""
    cells, shares = law()
    edges = shares.cumsum(0)
    u = torch.rand(count, generator=generator, dtype=torch.float64) * edges[-1]
    chosen = cells[torch.searchsorted(edges, u).clamp_max(len(cells) - 1)]
    return chosen + (torch.rand(count, 2, generator=generator) - 0.5) * (2 * SIDE / GRID)


def nearest(x: Tensor) -> Tensor:
    """The mode (n,) whose mean is nearest to x (n, 2)."""
    return torch.cat([torch.cdist(part, means()).argmin(1) for part in x.split(200_000)])


def wasserstein(x: Tensor, y: Tensor, order: int) -> float:
    """Wasserstein distance of an order between two sets of as many points (n, 2)."""
    from scipy.optimize import linear_sum_assignment

    cost = (torch.cdist(x.double(), y.double()) ** order).numpy()
    return float(cost[linear_sum_assignment(cost)].mean()) ** (1 / order)


def figures(x: Tensor, weights: Tensor, seed: int) -> dict[str, float]:
    """Distances of weighted points (K, 2), weights (K,) adding up to 1, from the power of the mixture."""
    generator = torch.Generator().manual_seed(7 + seed)
    found = torch.zeros(MODES, dtype=torch.float64).index_add_(0, nearest(x), weights)
    uniform = torch.rand(1, POINTS, generator=generator, dtype=torch.float64)
    some = x[RESAMPLERS["multinomial"](weights[None], uniform)[0]]
    true = exact(POINTS, generator)
    return {
        "W2": wasserstein(some, true, 2),
        "W1": wasserstein(some, true, 1),
        "TV": 0.5 * float((found - masses()).abs().sum()),
        "modes": int((found > LEAST).sum()),
        "ESS": float(1 / weights.square().sum()),
    }


def measured(method: Method, steps: int, seeds: Sequence[int], particles: int = PARTICLES) -> list[dict[str, float]]:
    """Figures of one population a seed; "ancestors" are particles of the start that have descendants."""
    found = []
    for seed in seeds:
        began = time.perf_counter()
        result = sample(prior(), method.guidance(particles), 1, steps, seed, method.sampler)
        weights = torch.softmax(result.log_weights[0] * method.weighted, 0)
        one = figures(result.samples[:, 0].float() * WIDTH, weights, seed)
        roots = float(result.info["distinct roots"].flatten()[-1])
        found.append({**one, "ancestors": roots, "seconds": time.perf_counter() - began})
    return found


def floor(seeds: Sequence[int], particles: int) -> list[dict[str, float]]:
    """Figures of as many exact draws."""
    weights = torch.full((particles,), 1 / particles, dtype=torch.float64)
    return [figures(exact(particles, torch.Generator().manual_seed(100 + seed)), weights, seed) for seed in seeds]


def run(config: dict[str, Any], console: Console) -> dict[str, Any]:
    """Measure every method with every number of steps and print the table; `output` is completed cell by cell.

    Raises:
        ValueError: settings that cannot work, before anything is sampled.
    """
    names = list(METHODS) if config["guidances"] == ["none"] else config["guidances"]
    for name in names:
        if not isinstance(name, str) or name not in METHODS:
            raise UnknownNameError("method", str(name), METHODS)
    steps, count = counts(config["steps"], STEPS), config["seeds"]
    if count is not None and type(count) is not int:
        raise ValueError(f"seeds={count}; suite=fkc needs a whole number of runs, from seed= on")
    seeds = range(config["seed"], config["seed"] + (count or SEEDS))
    particles = config["particles"] or PARTICLES
    settings = {"seeds": list(seeds), "particles": particles}
    record = opened(config["output"], settings, config["overwrite"], "cells")
    cells = record["cells"]
    with progress_bar(console) as bar:
        task = bar.add_task("", text="")
        for name, number in [(EXACT, 0), *((name, number) for name in names for number in steps)]:
            if str(number) in cells.setdefault(name, {}):
                continue
            bar.update(task, description=name, text=f"{number} steps, {len(seeds)} seeds")
            exactly = name == EXACT
            made = floor(seeds, particles) if exactly else measured(METHODS[name], number, seeds, particles)
            cells[name][str(number)] = made
            written(config["output"], record)
    console.print(table(cells, [EXACT, *names], [0, *steps], particles))
    return record


def table(cells: Mapping[str, Any], names: Sequence[str], steps: Sequence[int], particles: int) -> Table:
    """A row a method and number of steps; mean +- standard deviation over seeds."""
    made = Table(title=f"p^{POWER:g} of {MODES} modes, {particles} particles", title_justify="left")
    columns = ("W2", "W1", "TV", "modes", "ESS", "ancestors", "seconds")
    for title in ("method", "steps", *columns):
        made.add_column(title, justify="left" if title == "method" else "right")
    for name in names:
        for number in steps:
            runs = cells.get(name, {}).get(str(number))
            if runs:
                made.add_row(name, str(number or "-"), *(shown([run.get(key) for run in runs], key) for key in columns))
    return made


def shown(values: Sequence[float | None], key: str) -> str:
    """A figure over seeds as tables have it."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    if key == "modes":
        return f"{min(known):g}" if min(known) == max(known) else f"{min(known):g} to {max(known):g}"
    digits = {"TV": 3, "W1": 2, "W2": 2, "seconds": 1}.get(key, 0)
    mean = f"{statistics.fmean(known):.{digits}f}"
    return mean if len(known) == 1 or key == "seconds" else f"{mean}+-{statistics.stdev(known):.{digits}f}"
