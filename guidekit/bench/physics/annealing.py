"""Priors of systems of particles, trained hot and annealed to lower temperatures, beside reference draws from there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from guidekit.bench.fkc import Method
from guidekit.bench.physics.prior import ASSETS, load
from guidekit.bench.physics.reference import draws
from guidekit.bench.physics.systems import SYSTEMS, System, log_normalizer, pairs
from guidekit.bench.record import opened, written
from guidekit.commands.sample import progress_bar
from guidekit.core.guidance import Guidance, chain
from guidekit.errors import UnknownNameError
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.particles.resampling import RESAMPLERS
from guidekit.guidance.particles.score_product import ScoreProduct
from guidekit.reporting.console import Console
from guidekit.samplers import DPMSolver, EulerMaruyama
from guidekit.sampling import sample

PARTICLES, STEPS, SEEDS = 250, 100, 1
TRACED = 8
"""Numbers of a state up to which divergences are exact; above, one random probe."""

REFERENCE, PRIOR = "other reference draws", "prior, hot"


def methods(power: float) -> dict[str, Method]:
    """How a power is sampled, by name; each with and without weights."""
    made = {
        "target score": Method("target_score", EulerMaruyama()),
        "tempered noise": Method("target_score", EulerMaruyama(noise=1 / power)),
        "scaled noise, 2M": Method("scaled_noise", DPMSolver(eta=1.0)),
    }
    silent = {f"{name}, no weights": Method(one.formulation, one.sampler, 0.0, False) for name, one in made.items()}
    return silent | made


PUBLISHED: Mapping[tuple[str, float], Mapping[str, tuple[str, str, str]]] = {
    ("lj13", 0.8): {
        "target score, no weights": (".189+-.002", "14.73+-.03", "15.56+-.05"),
        "target score": (".048+-.019", "6.25+-2.71", "6.36+-2.67"),
        "tempered noise, no weights": (".108+-.007", "6.49+-.06", "8.50+-.28"),
        "tempered noise": (".047+-.006", "7.02+-.54", "7.11+-.54"),
    },
    ("lj13", 1.5): {
        "target score, no weights": (".168+-.009", "5.34+-.05", "6.21+-.25"),
        "target score": (".083+-.003", "3.37+-.08", "3.39+-.09"),
        "tempered noise, no weights": (".095+-.006", "2.15+-.05", "3.92+-.26"),
        "tempered noise": (".066+-.002", ".77+-.16", ".94+-.17"),
    },
}
"""Distance W2, energy W1 and W2 of arXiv:2503.02819, table 3: another network, trained with the energy, 1,000 steps."""


@cache
def reference(name: str, temperature: float, seed: int) -> Tensor:
    """Reference draws (`PARTICLES`, N, D)."""
    return draws(SYSTEMS[name], temperature, PARTICLES, seed, PARTICLES, burn=150)


def apart(x: Tensor, y: Tensor, order: int) -> float:
    """Wasserstein distance of an order between as many numbers."""
    return float((x.sort().values - y.sort().values).abs().pow(order).mean()) ** (1 / order)


def lengths(system: System, x: Tensor) -> Tensor:
    """All distances between particles, or the numbers themselves where there is one particle."""
    return x.flatten() if system.particles == 1 else pairs(x).sqrt().flatten()


def figures(system: System, x: Tensor, true: Tensor) -> dict[str, float]:
    """Distances of states from as many reference draws; "above" is the share of energies above all of these."""
    x = x.double()
    energy, known = system.energy(x), system.energy(true)
    return {
        "distance W2": apart(lengths(system, x), lengths(system, true), 2),
        "energy W1": apart(energy, known, 1),
        "energy W2": apart(energy, known, 2),
        "energy": float(energy.median()),
        "above": float((energy > known.max()).double().mean()),
    }


def measured(
    system: System, method: Method, temperature: float, steps: int, seed: int, folder: Any
) -> dict[str, float]:
    """Figures of one population."""
    began, prior, power = time.perf_counter(), load(system.name, folder), system.hot / temperature
    guidance = corrector(system, method, power)
    result = sample(prior, guidance, 1, steps, seed, method.sampler)
    weights = torch.softmax(result.log_weights * method.weighted, 1)
    chosen = RESAMPLERS["systematic"](weights, torch.full((1, PARTICLES), 0.5, dtype=torch.float64))[0]
    found = figures(system, result.samples[chosen], reference(system.name, temperature, seed))
    if system.name == "double-well" and method.weighted:
        exact = log_normalizer(temperature) - power * log_normalizer(system.hot)
        found["log Z less exact"] = float(result.log_normalizer[0]) - exact
    roots = float(result.info["distinct roots"].flatten()[-1])
    last = float(1 / weights.square().sum())
    return {**found, "ESS": last, "ancestors": roots, "seconds": time.perf_counter() - began}


def corrector(system: System, method: Method, power: float) -> Guidance:
    """The guidance of a method."""
    probes = 0 if system.shape[0] * system.shape[1] <= TRACED else 1
    filtered = ParticleFilter(particles=PARTICLES, ess_threshold=method.threshold, output="all")
    return chain(ScoreProduct(power, formulation=method.formulation, probes=probes), filtered)


def cell(system: System, name: str, temperature: float, steps: int, seed: int, folder: Any) -> dict[str, float]:
    """Figures of a method, of the prior at its own temperature, or of other reference draws."""
    if name == REFERENCE:
        other, true = (reference(system.name, temperature, one) for one in (1000 + seed, seed))
        return figures(system, other, true)
    if name == PRIOR:
        samples = sample(load(system.name, folder), None, PARTICLES, steps, seed, DPMSolver(eta=1.0)).samples
        return figures(system, samples, reference(system.name, system.hot, seed))
    return measured(system, methods(system.hot / temperature)[name], temperature, steps, seed, folder)


def run(config: dict[str, Any], console: Console) -> dict[str, Any]:
    """Measure every method for every system and temperature; `output` is completed cell by cell.

    Raises:
        ValueError: settings that cannot work, before anything is sampled.
    """
    names = config["systems"] or list(SYSTEMS)
    for name in names:
        if name not in SYSTEMS:
            raise UnknownNameError("system", str(name), SYSTEMS)
    steps, count = config["steps"] or STEPS, config["seeds"] or SEEDS
    if type(steps) is not int or type(count) is not int:
        raise ValueError(f"steps={steps}, seeds={count}; suite=physics needs one whole number of each")
    seeds = range(config["seed"], config["seed"] + count)
    record = opened(config["output"], {"seeds": list(seeds), "steps": steps}, config["overwrite"], "cells")
    with progress_bar(console) as bar:
        task = bar.add_task("", text="")
        for name in names:
            system = SYSTEMS[name]
            for temperature in (system.hot, *system.cold):
                rows = [PRIOR] if temperature == system.hot else list(methods(1.0))
                cells = record["cells"].setdefault(f"{name}, T = {temperature:g}", {})
                for row in [REFERENCE, *rows]:
                    if row in cells:
                        continue
                    bar.update(task, description=f"{name}, T = {temperature:g}", text=row)
                    cells[row] = [cell(system, row, temperature, steps, seed, ASSETS) for seed in seeds]
                    written(config["output"], record)
    for name in names:
        for temperature in (SYSTEMS[name].hot, *SYSTEMS[name].cold):
            console.print(table(name, temperature, record["cells"][f"{name}, T = {temperature:g}"]))
    return record


COLUMNS = ("distance W2", "energy W1", "energy W2", "energy", "above", "log Z less exact", "ESS", "ancestors")


def table(name: str, temperature: float, cells: Mapping[str, Sequence[Mapping[str, float]]]) -> Table:
    """A row a method, mean over seeds, and others' figures below."""
    kept = [one for one in COLUMNS if any(one in run for runs in cells.values() for run in runs)]
    made = Table(title=f"{name} at T = {temperature:g}, {PARTICLES} particles", title_justify="left")
    made.add_column("method")
    for title in kept:
        made.add_column(title, justify="right")
    for row, runs in cells.items():
        means = {one: statistics.fmean(run[one] for run in runs) for one in kept if one in runs[0]}
        made.add_row(row, *(f"{means[one]:.4g}" if one in means else "-" for one in kept))
    for row, others in PUBLISHED.get((name, temperature), {}).items():
        told = dict(zip(COLUMNS, others, strict=False))
        made.add_row(f"published: {row}", *(told.get(one, "-") for one in kept), style="dim")
    return made
