"""Row E38: inversion by an ensemble is exact on Gaussian fields; DPS with estimated gradients comes to DPS."""

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

SIZE, SEEN, NOISE = 16, 6, 0.3
MEMBERS, ENSEMBLES = 512, 8
DRAWS = (8, 64, 512)
DRAWN, DRAWING = gk.samplers.Heun(), 60
"""How members are drawn: an ensemble keeps the spread that its draws of the prior have."""

MONTHS, DEGREES, CHAINS, STEPS = 3, 0.5, 16, 30


class BlackBox(Operator):
    """Another operator, without a graph."""

    differentiable = False

    def __init__(self, inside: Operator) -> None:
        self.inside = inside

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return self.inside.forward(x)


def gaussian(seed: int) -> dict[str, float]:
    """16 numbers, six of whose mixtures are measured: moments of EKI, and the way of GSG to DPS."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(SEEN, SIZE, generator=generator, dtype=torch.float64) / SIZE**0.5
    y = matrix @ torch.randn(SIZE, generator=generator, dtype=torch.float64)
    prior = gk.priors.Gaussian(torch.zeros(SIZE, dtype=torch.float64), 1.0, gk.processes.EDM())
    likelihood = gk.objectives.LinearGaussian(matrix, y, NOISE)
    law, figures = prior.posterior(likelihood), {}
    inside = float(torch.trace(law.covariances[0]))
    for rule in ("transform", "stochastic"):
        guidance = gk.guidance.EnsembleKalmanInversion(likelihood, rule=rule, particles=MEMBERS)
        x = gk.sample(prior, guidance, ENSEMBLES, DRAWING, seed, DRAWN).samples
        figures[f"mean, {rule}"] = float((x.mean(0) - law.means[0]).norm()) / inside**0.5
        figures[f"variance, {rule}"] = float(x.unflatten(0, (ENSEMBLES, MEMBERS)).var(1).sum(1).mean()) / inside - 1
    plain = gk.sample(prior, gk.guidance.DPS(likelihood, loss="norm"), 64, STEPS, seed).samples
    for kind in ("central", "forward"):
        gaps = []
        for draws in DRAWS:
            guided = gk.guidance.DPSGSG(likelihood, draws=draws, kind=kind, loss="norm")
            gaps.append(float((gk.sample(prior, guided, 64, STEPS, seed).samples - plain).square().mean().sqrt()))
            figures[f"GSG, {kind}, {draws} draws: from DPS"] = gaps[-1]
        figures[f"GSG, {kind}: least fall"] = min(a - b for a, b in itertools.pairwise(gaps))
    return figures


def root_mean_square(x: Tensor) -> float:
    """Over all numbers."""
    return float(x.double().square().mean().sqrt())


def climate(seed: int) -> dict[str, float]:
    """Monthly temperatures from means of 4 x 4 cells: EKI beside the exact posterior, GSG beside DPS."""
    domain = gk.load_domain("inverse", kind="climate")
    field: Any = domain.load_prior("climate_field")
    network = domain.load_prior()
    held = list(domain.reference())
    found: list[dict[str, float]] = []
    for number in range(MONTHS):
        place = (37 * (MONTHS * seed + number) + 11) % len(held)
        truth = field.units.values(field.encode(held[place : place + 1]))
        operator = BlockMean(field.event_shape, 4)
        generator = torch.Generator().manual_seed(100 * seed + number)
        y = operator.forward(truth)
        y = y + DEGREES * torch.randn(y.shape, generator=generator, dtype=y.dtype)
        likelihood: Any = in_units(GaussianLikelihood(operator, y, DEGREES), field.units, field.event_shape)
        black: Any = in_units(GaussianLikelihood(BlackBox(operator), y, DEGREES), field.units, field.event_shape)
        exact = field.posterior(likelihood)
        ensemble = gk.guidance.EnsembleKalmanInversion(black, particles=MEMBERS)
        x = gk.sample(field, ensemble, 1, DRAWING, seed, DRAWN).samples
        by = gk.samplers.Ancestral(times=Karras(0.02, 20.0))
        dps = gk.sample(network, gk.guidance.DPS(likelihood, loss="norm"), CHAINS, STEPS, seed, by).samples
        gsg = gk.sample(network, gk.guidance.DPSGSG(black, draws=128, loss="norm"), CHAINS, STEPS, seed, by).samples
        means = {"exact": exact.mean(), "EKI": x.mean(0, keepdim=True), "DPS": dps.mean(0), "GSG": gsg.mean(0)}
        values = {name: field.units.values(one.reshape(truth.shape).double()) for name, one in means.items()}
        errors = {f"climate, {name}, degrees": root_mean_square(one - truth) for name, one in values.items()}
        spread = float(x.std(0).mean() / exact.variances().sqrt().mean())
        found.append({**errors, "climate, EKI: spread over the exact one": spread})
    figures = {name: statistics.fmean(one[name] for one in found) for name in found[0]}
    error = {name: figures[f"climate, {name}, degrees"] for name in ("exact", "EKI", "DPS", "GSG")}
    figures["climate, EKI: error over the exact mean's"] = error["EKI"] / error["exact"]
    figures["climate, GSG: error over DPS's"] = error["GSG"] / error["DPS"]
    return figures


def measure(seed: int) -> dict[str, float]:
    """Both worlds."""
    return {**gaussian(seed), **climate(seed)}


CLAIM = Claim(
    row="E38",
    method="Ensemble Kalman inversion, forward-only gradients (baselines of 2409.20175)",
    provides=("guidance.EnsembleKalmanInversion", "guidance.DPSGSG"),
    tier="",
    says="16 normal numbers, 6 measured: 8 ensembles of 512 have the posterior's mean within a tenth of its spread and "
    "its total variance within 5 %, by the transform and the stochastic rule; samples of DPS with estimated "
    "gradients come to those of DPS as draws grow, within .1 at 512. Monthly temperatures from means of 4 x 4 "
    "cells (noise .5 degrees, three months a seed), with nothing differentiated: EKI's mean has at most 1.1 times "
    "the error of the exact posterior mean of the same field and .9 to 1.1 times its spread, and GSG with 128 "
    "draws through the shipped network at most 1.25 times the error of DPS with the gradient.",
    domains=("exact", "climate"),
    checks=(
        *(Check(f"mean of EKI, {rule}, in spreads", f"mean, {rule}", most=0.1) for rule in ("transform", "stochastic")),
        *(
            Check(f"total variance of EKI, {rule}: relative error", f"variance, {rule}", least=-0.05, most=0.05)
            for rule in ("transform", "stochastic")
        ),
        *(
            Check(f"GSG, {kind}: distance from DPS falls with draws, least fall", f"GSG, {kind}: least fall", least=0.0)
            for kind in ("central", "forward")
        ),
        *(
            Check(f"GSG, {kind}: distance from DPS with 512 draws", f"GSG, {kind}, 512 draws: from DPS", most=0.1)
            for kind in ("central", "forward")
        ),
        Check("climate: error of EKI over the exact mean's", "climate, EKI: error over the exact mean's", most=1.1),
        Check("climate: spread of EKI", "climate, EKI: spread over the exact one", least=0.9, most=1.1),
        Check("climate: error of GSG over that of DPS", "climate, GSG: error over DPS's", most=1.25),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_ensembles.py::test_transform_has_the_covariance_of_the_posterior_at_any_number_of_members",
        "tests/oracles/test_ensembles.py::test_shares_of_a_linear_measurement_add_up",
        "tests/oracles/test_black_box_gradients.py::test_estimates_are_unbiased_for_linear_scores",
        "tests/oracles/test_black_box_gradients.py::test_with_many_draws_it_is_dps_and_with_few_it_is_not_far",
    ),
    longer="forward models that are bent; see the second claim",
)
