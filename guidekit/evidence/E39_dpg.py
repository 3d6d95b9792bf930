"""Row E39: the policy gradient finds what rounded measurements say, where nothing has a derivative."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.objectives import GaussianLikelihood, in_units
from guidekit.objectives.operators.base import Operator
from guidekit.objectives.operators.resampling import BlockMean
from guidekit.processes.grids import Karras

SIZE, SEEN, NOISE, CHAINS = 64, 24, 0.3, 64
DRAWS = (4, 32, 256)
STEPS, MONTHS, EACH, DEGREES = 30, 2, 32, 0.5
BY = gk.samplers.Ancestral(times=Karras(0.02, 20.0))


class Rounded(Operator):
    """Readings of another operator, rounded: its derivative is 0 wherever there is one."""

    differentiable = False

    def __init__(self, inside: Any, unit: float) -> None:
        self.inside, self.unit = inside, unit

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Multiples of the unit."""
        return (self.inside(x) / self.unit).round() * self.unit


def gaussian(seed: int) -> dict[str, float]:
    """Distance of the mean of chains from the exact one, over that of the prior's mean, by the number of draws."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(SEEN, SIZE, generator=generator, dtype=torch.float64) / SIZE**0.5
    y = matrix @ torch.randn(SIZE, generator=generator, dtype=torch.float64)
    prior = gk.priors.Gaussian(torch.zeros(SIZE, dtype=torch.float64), 1.0, gk.processes.EDM())
    mean = prior.posterior(gk.objectives.LinearGaussian(matrix, y, NOISE)).means[0]
    likelihood = GaussianLikelihood(Rounded(lambda x: x @ matrix.T, 0.1), y[None], NOISE)
    figures: dict[str, float] = {}
    for draws in DRAWS:
        guidance = gk.guidance.DiffusionPolicyGradient(likelihood, draws=draws)
        x = gk.sample(prior, guidance, CHAINS, STEPS, seed, BY).samples
        figures[f"distance, {draws} draws"] = float((x.mean(0) - mean).norm() / mean.norm())
    figures["least fall"] = min(a - b for a, b in itertools.pairwise(figures.values()))
    return figures


def climate(seed: int) -> dict[str, float]:
    """Errors in degrees of one chain, of the best of as many draws as it asks for, and of a draw."""
    domain = gk.load_domain("inverse", kind="climate")
    prior = domain.load_prior()
    held, found = list(domain.reference()), []
    for number in range(MONTHS):
        place = (37 * (MONTHS * seed + number) + 11) % len(held)
        truth = prior.units.values(prior.encode(held[place : place + 1]))
        operator = BlockMean(prior.event_shape, 4)
        reading = Rounded(operator.forward, 1.0)
        black: Any = in_units(
            GaussianLikelihood(reading, reading.forward(truth), DEGREES), prior.units, prior.event_shape
        )
        guided = gk.guidance.DiffusionPolicyGradient(black, draws=EACH - 1)
        chains = gk.sample(prior, guided, 8, STEPS, seed, BY).samples
        best = gk.sample(prior, gk.guidance.BestOfN(black, EACH * STEPS), 1, 20, seed).samples
        plain = gk.sample(prior, None, 8, STEPS, seed, BY).samples
        found.append(
            {"DPG": off(prior, chains, truth), "best of N": off(prior, best, truth), "draw": off(prior, plain, truth)}
        )
    error = {name: statistics.fmean(one[name] for one in found) for name in found[0]}
    return {
        **{f"climate, {name}, degrees": value for name, value in error.items()},
        "climate, DPG less best of N": error["DPG"] - error["best of N"],
        "climate, DPG over a draw": error["DPG"] / error["draw"],
    }


def off(prior: Any, states: Tensor, truth: Tensor) -> float:
    """Root mean square error of fields, a mean over them, degrees."""
    gap = prior.units.values(states).double() - truth.double()
    return float(gap.square().flatten(1).mean(1).sqrt().mean())


def measure(seed: int) -> dict[str, float]:
    """Both worlds."""
    return {**gaussian(seed), **climate(seed)}


CLAIM = Claim(
    row="E39",
    method="DPG, policy gradient (2403.10585)",
    provides=("guidance.DiffusionPolicyGradient",),
    tier="",
    says="Measurements that are rounded, so that their derivative is 0. 64 normal numbers, 24 measured to .1 with "
    "noise .3: the mean of 64 chains of 30 steps comes nearer to the posterior's with 4, 32 and 256 draws a step, "
    "and at 256 within half of the distance of the prior's mean. Monthly temperatures from means of 4 x 4 cells "
    "in whole degrees, through the shipped network (two months a seed): one chain has less error than the best of "
    "as many draws as it asks the forward model (960), and at most .6 of that of a draw.",
    domains=("exact", "climate"),
    checks=(
        Check("distance falls with 4, 32 and 256 draws, least fall", "least fall", least=0.0),
        Check("distance with 256 draws, over that of the prior's mean", "distance, 256 draws", most=0.5),
        Check("climate: error less that of best-of-N, degrees", "climate, DPG less best of N", most=0.0),
        Check("climate: error over that of a draw", "climate, DPG over a draw", most=0.6),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_black_box_gradients.py::test_the_policy_gradient_goes_the_way_of_the_gradient",
        "tests/oracles/test_black_box_gradients.py::test_worths_have_the_mean_of_the_others_as_their_baseline",
    ),
    longer="thousands of draws a step, as published",
)
