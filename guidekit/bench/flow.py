"""What a flow was half a second ago: guidances that only ask a solver beside each other, at equal numbers of solves.

Source of the task: Zheng et al. 2024, arXiv:2409.20175, on 128 x 128 points after one second, with a trained prior.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from guidekit import registry
from guidekit.bench.posterior import counts
from guidekit.bench.record import opened, written
from guidekit.bench.solvers import Solver
from guidekit.commands.sample import progress_bar
from guidekit.core.sampler import Sampler
from guidekit.errors import UnknownNameError
from guidekit.installed import load_domain
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.objectives.operators.base import Operator
from guidekit.objectives.operators.navier_stokes import Flow, NavierStokes, random_vorticity
from guidekit.priors.gaussian_field import GaussianField
from guidekit.processes import EDM
from guidekit.processes.grids import Levels
from guidekit.reporting.console import Console
from guidekit.samplers import Ancestral, Heun
from guidekit.sampling import sample

SECONDS, STD = 0.5, 4.0
"""From what is sought to what is seen, and the deviation of vorticity that is sought, in 1/s."""

SCALE, DECAY = 3.0, 4.0
"""Of the spectrum (|k|^2 + scale^2)^-decay of truths, and of their prior."""

FIELD, TRAINED = "default", ("vorticity", "vorticity_field")
"""Priors: the Gaussian field that truths are drawn from, or those of `domain=inverse` and its held-out fields."""

VISCOSITY = {FIELD: 1 / 200} | dict.fromkeys(TRAINED, 1 / 100)
"""m^2/s; the data of the trained ones was made with theirs."""

ASSUMED = 0.1
"""Least noise that a likelihood is told of, 1/s."""

SIZES, EVERY, NOISES, SOLVES, PARTICLES, PROBLEMS = (32, 64, 128), (2, 4, 8), (0.0, 1.0, 2.0), 768, 96, 3
STEPS, AT_ONCE = 32, 16
"""Steps of what asks at every step, and states that a solver takes at once: more do not fit a processor's cache."""

SEARCHING = Ancestral(times=Levels(0.05, 10.0))

METHODS: Mapping[str, tuple[Solver, ...]] = {
    "ensemble_kalman_guidance": (Solver("ensemble_kalman_guidance"),),
    "ensemble_kalman_inversion": (Solver("ensemble_kalman_inversion"),),
    "svdd": (Solver("svdd"),),
    "diffusion_policy_gradient": (Solver("diffusion_policy_gradient"),),
    "dps_gsg": (
        Solver("dps_gsg", {"kind": "central"}, variant="central"),
        Solver("dps_gsg", {"kind": "forward"}, variant="forward"),
    ),
    "best_of_n": (Solver("best_of_n"),),
    "dps": (Solver("dps"),),
}
"""By the name of their guidance; the last one has the gradient of the solver."""


def planned(solver: Solver, solves: int, particles: int) -> tuple[dict[str, Any], int, Sampler | None]:
    """Settings, steps and sampler with which a guidance asks for so many solves; `dps` asks for one a step.

    Strengths were chosen on other truths, ensembles have the published ones.
    """
    moves, each = solves // particles, solves // STEPS
    draws = each - (solver.options.get("kind") == "forward")  # one solve is for where it is
    plans: dict[str, tuple[dict[str, Any], int, Sampler | None]] = {
        "ensemble_kalman_guidance": (
            {"particles": particles, "updates": 1, "start_frac": 0.0, "end_frac": 0.0},
            moves + 1,
            None,
        ),
        "ensemble_kalman_inversion": ({"particles": particles, "updates": moves, "rule": "descent"}, 20, Heun()),
        "svdd": ({"candidates": each, "alpha": 0.0}, STEPS, SEARCHING),
        "diffusion_policy_gradient": ({"draws": each - 1, "scale": 0.4}, STEPS, SEARCHING),
        "dps_gsg": ({"draws": draws, "loss": "residual", "scale": 0.01}, STEPS, SEARCHING),
        "best_of_n": ({"particles": solves}, 20, Heun()),
        "dps": ({"loss": "norm", "scale": 3.0}, STEPS, SEARCHING),
    }
    options, steps, sampler = plans[solver.guidance]
    return {**options, **solver.options}, steps, sampler


class Observed(Operator):
    """A picture of the flow, of states in units of `scale` around `shift`; counts the states it has solved for."""

    def __init__(self, solver: NavierStokes, scale: float, shift: float, gradient: bool) -> None:
        self.solver, self.scale, self.shift, self.solves = solver, scale, shift, 0
        self.differentiable = gradient

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, n, n) to (B, 1, m, m), 1/s; NaN where a state is too fast for the solver."""
        self.solves += len(x)
        with torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled()):
            parts = (self.scale * x + self.shift).split(AT_ONCE)
            return torch.cat([self.solver.forward(part) for part in parts])


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """Truths of one kind, and the prior of all of them.

    Args:
        name: of the prior.
        size: points a side.
    """

    name: str
    size: int

    def __post_init__(self) -> None:
        """Load the prior.

        Raises:
            UnknownNameError: no prior of that name.
            ValueError: a trained one for other sizes than its own.
        """
        if self.name not in VISCOSITY:
            raise UnknownNameError("prior of flows", self.name, VISCOSITY)
        if self.name in TRAINED and self.size != 64:
            raise ValueError(f"size={self.size}; prior={self.name} has 64 points a side")
        domain = load_domain("inverse", kind="vorticity") if self.name in TRAINED else None
        prior = domain.load_prior(self.name) if domain else field(self.size)
        object.__setattr__(self, "prior", prior)
        object.__setattr__(self, "fields", prior.encode(domain.reference()) if domain else None)

    def truth(self, number: int) -> Tensor:
        """State (1, 1, n, n)."""
        fields: Tensor | None = self.fields  # type: ignore[attr-defined]
        if fields is not None:
            return fields[number % len(fields)][None]
        return random_vorticity(1, self.size, 1_000 + number, DECAY, SCALE, STD)[:, None] / STD

    def operator(self, every: int, gradient: bool) -> Observed:
        """What sees one point in `every` along each axis; steps of 1 / (4 n) seconds are stable up to about 10 m/s."""
        solver = NavierStokes(Flow(self.size, VISCOSITY[self.name]), SECONDS, every, 0.25 / self.size)
        units = self.prior.units  # type: ignore[attr-defined]
        scale, shift = (STD, 0.0) if self.name == FIELD else (units.scale, units.shift)
        return Observed(solver, scale, shift, gradient)


def field(size: int) -> GaussianField:
    """The prior that random truths are drawn from, in units of STD."""
    waves = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    power = (waves[:, None] ** 2 + waves[None] ** 2 + SCALE**2) ** -DECAY
    power[0, 0] = 0
    power = (power / power.mean()).clamp_min(1e-8 * float(power.max() / power.mean()))
    return GaussianField(torch.zeros(1, size, size), power[None].float(), "fourier", EDM())


def measured(
    solver: Solver, family: Family, every: int, noise: float, number: int, solves: int, particles: int
) -> dict[str, Any]:
    """Relative error of the mean of what a guidance hands back, None where it is not finite, and what it took."""
    truth, operator = family.truth(number), family.operator(every, solver.guidance == "dps")
    with torch.no_grad():
        seen = operator.forward(truth)
    draws = torch.Generator().manual_seed(number)
    y = seen + noise * torch.randn(seen.shape, generator=draws)
    operator.solves = 0
    options, steps, sampler = planned(solver, solves, particles)
    likelihood = GaussianLikelihood(operator, y, max(noise, ASSUMED))
    guidance = registry.get("guidance", solver.guidance)(likelihood, **options)
    try:
        result = sample(family.prior, guidance, 1, steps, number, sampler)  # type: ignore[attr-defined]
    except ArithmeticError:  # it says itself that it has diverged
        return {"error": None, "solves": operator.solves}
    gap = torch.linalg.vector_norm(result.samples.mean(0) - truth[0])
    error = float(gap / torch.linalg.vector_norm(truth))
    ledger = result.ledger
    found = {"solves": operator.solves, "rows": ledger.network_rows, "backward": ledger.backward_passes}
    return {"error": error if math.isfinite(error) else None, **found}


def run(config: dict[str, Any], console: Console) -> dict[str, Any]:
    """Measure every guidance in every cell and print the table; `output` is completed figure by figure.

    Raises:
        ValueError: settings that cannot work, before anything is sampled.
    """
    size, solves, particles, problems = (
        config[name] if config[name] is not None else usual
        for name, usual in (("size", 64), ("solves", SOLVES), ("particles", PARTICLES), ("problems", PROBLEMS))
    )
    if size not in SIZES:
        raise ValueError(f"size={size}; one of {', '.join(map(str, SIZES))} is needed")
    if solves % particles or solves % (2 * STEPS) or solves < 4 * STEPS:
        raise ValueError(
            f"solves={solves}, particles={particles}; a multiple of the particles and of {2 * STEPS} is needed, from "
            f"{4 * STEPS} on"
        )
    family = Family(config["prior"], size)
    every, noises = counts(config["every"], EVERY), numbers(config["noise"], NOISES)
    for one in every:
        if size % one:
            raise ValueError(f"every={one} does not divide the {size} points of the grid")
    wanted = chosen(None if config["guidances"] == ["none"] else config["guidances"])
    settings = {"prior": config["prior"], "size": size, "solves": solves, "particles": particles}
    record = opened(config["output"], settings, config["overwrite"], "cells")
    first = config["seed"]
    with progress_bar(console) as bar:
        task = bar.add_task("", text="")
        for number in range(first, first + problems):
            for noise in noises:
                for one in every:
                    for solver in wanted:
                        cell = record["cells"].setdefault(solver.title, {}).setdefault(f"{one},{noise:g}", {})
                        if str(number) in cell:
                            continue
                        bar.update(task, description=solver.title, text=f"x{one}, noise {noise:g}, truth {number}")
                        cell[str(number)] = measured(solver, family, one, noise, number, solves, particles)
                        written(config["output"], record)
    places = [f"{one},{noise:g}" for one in every for noise in noises]
    title = f"relative error, {size} x {size}, truths {first} to {first + problems - 1}, {solves} solves"
    console.print(table(record["cells"], [solver.title for solver in wanted], places, title, first, problems))
    return record


def numbers(given: Any, usual: Sequence[float]) -> list[float]:
    """Levels of noise, from a number or a list."""
    found = list(usual) if given is None else given if isinstance(given, list) else [given]
    return [float(one) for one in found]


def chosen(names: Sequence[Any] | None) -> list[Solver]:
    """Guidances by name, title or {name: ..., settings}; all for None.

    Raises:
        UnknownNameError: none of `METHODS`.
    """
    known = [solver for some in METHODS.values() for solver in some]
    found: list[Solver] = []
    for one in known if names is None else names:
        if isinstance(one, Solver):
            fits = [one]
        elif isinstance(one, Mapping):
            options = {key: value for key, value in one.items() if key != "name"}
            said = " ".join(f"{key}={value}" for key, value in options.items())
            fits = [Solver(str(one.get("name")), options, variant=said)] if one.get("name") in METHODS else []
        else:
            fits = [solver for solver in known if one in (solver.guidance, solver.title)]
        if not fits:
            name = one.get("name") if isinstance(one, Mapping) else one
            raise UnknownNameError("guidance of flows", str(name), [*METHODS, *(solver.title for solver in known)])
        found += fits
    return found


def table(
    cells: Mapping[str, Any], titles: Sequence[str], places: Sequence[str], title: str, first: int, count: int
) -> Table:
    """A row a guidance, a column a strength and noise: mean +- standard deviation over truths; and the solves."""
    made = Table(title=title, title_justify="left")
    made.add_column("guidance")
    for place in places:
        every, noise = place.split(",")
        made.add_column(f"x{every}, {noise}", justify="right")
    made.add_column("solves", justify="right")
    for name in titles:
        row = cells.get(name, {})
        kept = [[row.get(place, {}).get(str(n)) for n in range(first, first + count)] for place in places]
        solves = dict.fromkeys(f"{one['solves']}" for cell in kept for one in cell if one)
        made.add_row(name, *(shown([one for one in cell if one]) for cell in kept), ", ".join(solves))
    return made


def shown(found: Sequence[Mapping[str, Any]]) -> str:
    """A cell as tables have it."""
    values = [one["error"] for one in found if one["error"] is not None]
    failed = f" ({len(found) - len(values)} failed)" if len(values) < len(found) else ""
    if not values:
        return f"-{failed}"
    spread = f"+-{statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}{failed}"
