"""Row 7: an ensemble finds the vorticity of a fluid from a later picture, without a derivative of the solver."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.objectives.operators.base import Operator
from guidekit.objectives.operators.navier_stokes import Flow, NavierStokes, random_vorticity
from guidekit.processes.grids import Levels

SIZE, MEMBERS, STEPS, SECONDS, STD = 32, 256, 16, 0.5, 4.0
"""Points a side, members, moves of the ensemble, seconds of flow, and the vorticity of a state of 1, in 1/s."""

TRUTHS = 3
"""Fields of a seed, over which its figures are means: with few points seen they differ much."""

SCALE, DECAY = 3.0, 4.0
"""Of the spectrum (|k|^2 + scale^2)^-decay, of `random_vorticity`."""

OTHERS = ("stochastic control", "best of N")
"""What the claim compares with."""

STRENGTHS = (2, 4, 8)
"""Grid points from one that is seen to the next."""

SEARCHING = gk.samplers.Ancestral(times=Levels(0.05, 10.0))


class Observed(Operator):
    """A picture of the flow after some seconds, of states in units of STD: forward only, and it counts its calls."""

    differentiable = False

    def __init__(self, every: int, size: int = SIZE) -> None:
        step = SECONDS / 40
        self.solver, self.calls = NavierStokes(Flow(size, 1 / 200), SECONDS, every, step), 0

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, n, n) to (B, 1, m, m); NaN where a state is too fast for the solver."""
        self.calls += len(x)
        return self.solver.forward(STD * x)


def prior(size: int = SIZE) -> Any:
    """The Gaussian field that truths are drawn from."""
    waves = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    power = (waves[:, None] ** 2 + waves[None] ** 2 + SCALE**2) ** -DECAY
    power[0, 0] = 0
    power = (power / power.mean()).clamp_min(1e-8 * float(power.max() / power.mean()))
    return gk.priors.GaussianField(torch.zeros(1, size, size), power[None].float(), "fourier", gk.processes.EDM())


def solvers(likelihood: Any, members: int, steps: int) -> dict[str, tuple[Any, int, Any]]:
    """Guidance, steps and sampler by name; members x steps calls of the forward model each."""
    calls, guidance = members * steps, gk.guidance
    return {
        "EnKG": (
            guidance.EnsembleKalmanGuidance(likelihood, particles=members, updates=1, start_frac=0.0, end_frac=0.0),
            steps + 1,
            None,
        ),
        "EKI": (
            guidance.EnsembleKalmanInversion(likelihood, steps, "descent", particles=members),
            20,
            gk.samplers.Heun(),
        ),
        "stochastic control": (guidance.SVDD(likelihood, calls // 32, 0.0), 32, SEARCHING),
        "best of N": (guidance.BestOfN(likelihood, calls), 20, gk.samplers.Heun()),
    }


def problem(seed: int, every: int, noise: float, size: int = SIZE) -> tuple[Tensor, Observed, Any]:
    """(truth (1, 1, n, n), the operator, the likelihood of what it measures of it, noise in 1/s)."""
    truth = random_vorticity(1, size, 1_000 + seed, DECAY, SCALE, STD)[:, None] / STD
    operator = Observed(every, size)
    seen = operator.forward(truth)
    draws = torch.Generator().manual_seed(seed)
    y = seen + noise * torch.randn(seen.shape, generator=draws)
    return truth, operator, gk.objectives.GaussianLikelihood(operator, y, max(noise, 0.1))


def figures_of(
    seed: int,
    every: int,
    noise: float = 1.0,
    size: int = SIZE,
    members: int = MEMBERS,
    steps: int = STEPS,
    names: Sequence[str] = ("EnKG", *OTHERS),
) -> dict[str, tuple[float, int]]:
    """Relative error of the mean of what a solver hands back, and the calls it took, by name."""
    truth, operator, likelihood = problem(seed, every, noise, size)
    found = {}
    for name in names:
        guidance, count, sampler = solvers(likelihood, members, steps)[name]
        operator.calls = 0
        result = gk.sample(prior(size), guidance, 1, steps=count, sampler=sampler, seed=seed)
        gap = torch.linalg.vector_norm(result.samples.mean(0) - truth[0])
        found[name] = (float(gap / torch.linalg.vector_norm(truth)), operator.calls)
    return found


def measure(seed: int) -> dict[str, float]:
    """Errors and calls at the three strengths, and the differences that the claim is about."""
    figures: dict[str, float] = {}
    for every in STRENGTHS:
        each = [figures_of(TRUTHS * seed + number, every) for number in range(TRUTHS)]
        errors = {name: statistics.fmean(found[name][0] for found in each) for name in each[0]}
        figures |= {f"error, {name}, x{every}": error for name, error in errors.items()}
        figures |= {f"calls, {name}, x{every}": float(calls) for name, (_, calls) in each[0].items()}
        for other in OTHERS:
            figures[f"EnKG less {other}, x{every}"] = errors["EnKG"] - errors[other]
    return figures


CLAIM = Claim(
    row=7,
    method="EnKG",
    provides=("guidance.EnsembleKalmanGuidance",),
    tier="A",
    says="The initial vorticity of a flow of 32 x 32 points is sought from every second, fourth or eighth point half a "
    "second later, with noise of 1/s, by a solver that is forward only. At 4,096 solves each the mean of the ensemble "
    "of 256 members has, over three fields a seed, a smaller relative error than what stochastic control (SVDD with "
    "the best candidate kept) and best-of-N find; with a Gaussian field as the prior of all.",
    domains=("exact",),
    checks=tuple(
        Check(f"error of EnKG less that of {other}, one point in {every}", f"EnKG less {other}, x{every}", most=0.0)
        for every in STRENGTHS
        for other in OTHERS
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_ensembles.py::test_moves_are_descent_preconditioned_by_the_covariance",
        "tests/oracles/test_ensembles.py::test_in_a_run_the_first_move_is_that_descent",
        "tests/oracles/test_ensembles.py::test_one_member_is_the_unguided_sampler",
        "tests/oracles/test_ensembles.py::test_who_failed_does_not_count_for_the_others",
    ),
    longer="64 x 64 points, up to 2,048 members, more moves and a trained prior, hours",
)
