"""Row E11: LGD-MC tends to the score of PiGDM with many draws, and to that of DPS with the mean of the loss."""

from __future__ import annotations

import torch
from torch import Tensor

import guidekit as gk
from guidekit.core.guidance import Layer
from guidekit.core.population import Population
from guidekit.core.proposal import Proposal
from guidekit.core.step import Step
from guidekit.evidence.claim import Check, Claim

T, ROWS = 0.45, 64


class Look(gk.Guidance):
    """Keeps what it is asked about first."""

    layer = Layer.FILTER

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def propose(self, inner: object, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        self.seen.append((population.state, population.predict().score))  # type: ignore[attr-defined]
        return inner(population, step)  # type: ignore[operator]


def measure(seed: int) -> dict[str, float]:
    """Relative errors of what is added to the score, against the closed form."""
    prior = gk.priors.Gaussian(torch.zeros(2, dtype=torch.float64), torch.tensor([[1.0, 0.5], [0.5, 2.0]]))
    a, y = torch.tensor([[1.0, 0.5]], dtype=torch.float64), torch.tensor([1.5], dtype=torch.float64)
    likelihood = gk.objectives.LinearGaussian(a, y, 0.5)
    signal, noise = prior.process.coefficients(T)
    covariance = torch.as_tensor(prior.covariances[0], dtype=torch.float64)
    jacobian = signal * covariance @ torch.linalg.inv(signal**2 * covariance + noise**2 * torch.eye(2))
    figures = {}
    for draws in (1, 10, 3000):
        look, start = Look(), gk.guidance.FromSample(torch.zeros(1, 2, dtype=torch.float64), T)
        sampler = gk.samplers.Ancestral(times=(T, 0.0))
        guidance = gk.chain(gk.guidance.LGD(likelihood, draws=draws), look, start)
        gk.sample(prior, guidance, ROWS, 1, seed, sampler, dtype=torch.float64)
        x, score = look.seen[0]
        plain = prior.predict(x, T)
        gap, variance = y - plain.mean @ a.T, 0.25 + noise**2 / (signal**2 + noise**2) * float(a @ a.T)
        exact, dps = (gap / variance) @ a @ jacobian, (gap / 0.25) @ a @ jacobian
        found = score - plain.score
        figures[f"error, {draws} draws"] = float((found - exact).norm() / exact.norm())
        figures[f"median error, {draws} draws"] = float(((found - exact).norm(dim=1) / exact.norm(dim=1)).median())
    figures["error of DPS"] = float((dps - exact).norm() / exact.norm())
    figures["error, share of DPS's"] = figures["error, 3000 draws"] / figures["error of DPS"]
    return figures


CLAIM = Claim(
    row="E11",
    method="LGD-MC (ICML 2023)",
    provides=("guidance.LGD",),
    tier="",
    says="For a linear Gaussian likelihood what LGD adds to the score with 3,000 draws is that of PiGDM within 15 %, "
    "and at most a tenth as far from it as that of DPS; with 10 draws the median error of a state is 5 % at least (64 "
    "states in 2 dimensions at one time).",
    domains=("exact",),
    checks=(
        Check("relative error with 3,000 draws", "error, 3000 draws", most=0.15),
        Check("error with 3,000 draws over that of DPS", "error, share of DPS's", most=0.1),
        Check("median relative error with 10 draws", "median error, 10 draws", least=0.05),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_gradient.py::test_lgd_tends_to_the_score_of_pigdm_and_not_to_that_of_dps",
        "tests/oracles/test_gradient.py::test_corners_of_tfg",
    ),
)
