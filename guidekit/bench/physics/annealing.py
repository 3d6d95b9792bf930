"""Priors of systems of particles, trained hot and annealed to lower temperatures, beside reference draws from there."""

from __future__ import annotations

import dataclasses
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

REFERENCE, PRIOR = "other reference draws", "prior, hot"


@dataclasses.dataclass(frozen=True)
class Size:
    """What all cells have in common.

    Args:
        particles: of a population.
        steps: of a run.
        probes: random probes of a divergence; 0 is exact, a backward pass a number of the state.
    """

    particles: int = PARTICLES
    steps: int = STEPS
    probes: int = 0


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
def reference(name: str, temperature: float, seed: int, count: int) -> Tensor:
    """Reference draws (count, N, D), several of each chain where they are many."""
    return draws(SYSTEMS[name], temperature, count, seed, min(count, PARTICLES), burn=150)


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
    system: System, method: Method, temperature: float, seed: int, size: Size, folder: Any
) -> dict[str, float]:
    """Figures of one population."""
    began, prior, power = time.perf_counter(), load(system.name, folder), system.hot / temperature
    guidance = corrector(method, power, size)
    result = sample(prior, guidance, 1, size.steps, seed, method.sampler)
    weights = torch.softmax(result.log_weights * method.weighted, 1)
    chosen = RESAMPLERS["systematic"](weights, torch.full((1, size.particles), 0.5, dtype=torch.float64))[0]
    found = figures(system, result.samples[chosen], reference(system.name, temperature, seed, size.particles))
    if system.name == "double-well" and method.weighted:
        exact = log_normalizer(temperature) - power * log_normalizer(system.hot)
        found["log Z less exact"] = float(result.log_normalizer[0]) - exact
    roots = float(result.info["distinct roots"].flatten()[-1])
    last = float(1 / weights.square().sum())
    return {**found, "ESS": last, "ancestors": roots, "seconds": time.perf_counter() - began}


def corrector(method: Method, power: float, size: Size) -> Guidance:
    """The guidance of a method; without weights nobody looks at a divergence, and one probe will do."""
    probes = size.probes if method.weighted else 1
    filtered = ParticleFilter(particles=size.particles, ess_threshold=method.threshold, output="all")
    return chain(ScoreProduct(power, formulation=method.formulation, probes=probes), filtered)


def cell(system: System, name: str, temperature: float, seed: int, size: Size, folder: Any) -> dict[str, float]:
    """Figures of a method, of the prior at its own temperature, or of other reference draws."""
    count = size.particles
    if name == REFERENCE:
        other, true = (reference(system.name, temperature, one, count) for one in (1000 + seed, seed))
        return figures(system, other, true)
    if name == PRIOR:
        samples = sample(load(system.name, folder), None, count, size.steps, seed, DPMSolver(eta=1.0)).samples
        return figures(system, samples, reference(system.name, system.hot, seed, count))
    return measured(system, methods(system.hot / temperature)[name], temperature, seed, size, folder)


def run(config: dict[str, Any], console: Console) -> dict[str, Any]:
    """Measure every method for every system and temperature; `output` is completed cell by cell.

    Raises:
        ValueError: settings that cannot work, before anything is sampled.
    """
    names = config["systems"] or list(SYSTEMS)
    for name in names:
        if name not in SYSTEMS:
            raise UnknownNameError("system", str(name), SYSTEMS)
        asked(SYSTEMS[name], config["temperatures"])
    steps, count = config["steps"] or STEPS, config["seeds"] or SEEDS
    if type(steps) is not int or type(count) is not int:
        raise ValueError(f"steps={steps}, seeds={count}; suite=physics needs one whole number of each")
    known = list(methods(1.0))
    wanted = known if config["guidances"] == ["none"] else [str(one) for one in config["guidances"]]
    for name in wanted:
        if name not in known:
            raise UnknownNameError("method", name, known)
    size = Size(config["particles"] or PARTICLES, steps, config["probes"])
    seeds = range(config["seed"], config["seed"] + count)
    settings = {"seeds": list(seeds), **dataclasses.asdict(size)}
    record = opened(config["output"], settings, config["overwrite"], "cells")
    with progress_bar(console) as bar:
        task = bar.add_task("", text="")
        for name in names:
            system = SYSTEMS[name]
            for temperature in asked(system, config["temperatures"]):
                rows = [PRIOR] if temperature == system.hot else wanted
                cells = record["cells"].setdefault(f"{name}, T = {temperature:g}", {})
                for row in [REFERENCE, *rows]:
                    runs = cells.setdefault(row, [])
                    for seed in seeds[len(runs) :]:
                        bar.update(task, description=f"{name}, T = {temperature:g}", text=f"{row}, seed {seed}")
                        runs.append(cell(system, row, temperature, seed, size, ASSETS))
                        written(config["output"], record)
    for name in names:
        for temperature in asked(SYSTEMS[name], config["temperatures"]):
            cells = record["cells"][f"{name}, T = {temperature:g}"]
            console.print(table(name, temperature, cells, size.particles))
    return record


def asked(system: System, given: Any) -> Sequence[float]:
    """Temperatures of a system: those that are given, one or a list, or its own.

    Raises:
        ValueError: one above that of its prior.
    """
    if given is None:
        return (system.hot, *system.cold)
    found = given if isinstance(given, list) else [given]
    for one in found:
        if one > system.hot:
            raise ValueError(
                f"temperatures={given}; the prior of {system.name} has {system.hot:g}, the highest there is"
            )
    return found


COLUMNS = ("distance W2", "energy W1", "energy W2", "energy", "above", "log Z less exact", "ESS", "ancestors")


def table(name: str, temperature: float, cells: Mapping[str, Sequence[Mapping[str, float]]], particles: int) -> Table:
    """A row a method, mean over seeds (and standard deviation, where there are several), and others' figures below."""
    kept = [one for one in COLUMNS if any(one in run for runs in cells.values() for run in runs)]
    made = Table(title=f"{name} at T = {temperature:g}, {particles} particles", title_justify="left")
    made.add_column("method")
    for title in kept:
        made.add_column(title, justify="right")
    for row, runs in cells.items():
        made.add_row(row, *(shown([run[one] for run in runs if one in run]) for one in kept))
    for row, others in PUBLISHED.get((name, temperature), {}).items():
        told = dict(zip(COLUMNS, others, strict=False))
        made.add_row(f"published: {row}", *(told.get(one, "-") for one in kept), style="dim")
    return made


def shown(values: Sequence[float]) -> str:
    """A figure over seeds as tables have it."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.3g}"
    return f"{mean}+-{statistics.stdev(values):.2g}" if len(values) > 1 else mean
