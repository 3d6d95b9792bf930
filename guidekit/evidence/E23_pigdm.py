"""Row E23: pseudo-inverse guidance is exact for a round prior, and only there."""

from __future__ import annotations

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim


def measure(seed: int) -> dict[str, float]:
    """Spread of 8 numbers of N(0, I) measured by a random matrix; mean of one of two correlated ones, truth .9."""
    draws = torch.Generator().manual_seed(seed)
    matrix = torch.randn(3, 8, generator=draws, dtype=torch.float64)
    y = torch.randn(3, generator=draws, dtype=torch.float64)
    prior = gk.priors.Gaussian(torch.zeros(8, dtype=torch.float64), 1.0, gk.processes.EDM())
    likelihood = gk.objectives.LinearGaussian(matrix, y, 0.3)
    exact = prior.posterior(likelihood)
    x = gk.sample(prior, gk.guidance.PiGDM(likelihood), 2000, 20, seed).samples
    size = exact.covariance().trace().sqrt()
    pair = gk.priors.Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]), gk.processes.VP("cosine"))
    known = gk.objectives.LinearGaussian(torch.tensor([[1.0, 0.0]]), torch.ones(1), 1e-3)
    rest = gk.sample(pair, gk.guidance.PiGDM(known), 12000, 50, seed).samples[:, 1]
    return {
        "std ratio": float(x.var(0).sum().sqrt() / size),
        "bias": float((x.mean(0) - exact.mean()).norm() / size),
        "mean, correlated": float(rest.mean()),
    }


CLAIM = Claim(
    row="E23",
    method="PiGDM (ICLR 2023)",
    provides=("guidance.PiGDM",),
    tier="",
    says="For the prior N(0, I) and a random matrix the samples of 20 steps of second order have the spread of the "
    "posterior within 5 % and its mean within .05 deviations. Where two numbers have correlation .9 and one is known "
    "to be 1, the mean of the other (truth .9) is between .81 and .88: biased, as documented.",
    domains=("exact",),
    checks=(
        Check("deviation of the samples over that of the posterior", "std ratio", least=0.95, most=1.05),
        Check("error of the mean in deviations of the posterior", "bias", most=0.05),
        Check("mean of the rest for a correlated prior", "mean, correlated", least=0.81, most=0.88),
    ),
    measure=measure,
    oracles=("tests/oracles/test_inverse_moments.py::test_pseudo_inverse_guidance_gives_that_of_a_round_gaussian",),
    longer="coverage on fields and mixtures: guidekit bench posterior 'guidances=[pigdm]'",
)
