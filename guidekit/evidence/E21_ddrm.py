"""Row E21: measurements without noise are met, and with noise the spread is told to be too small."""

from __future__ import annotations

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim


def measure(seed: int) -> dict[str, float]:
    """Misfit without noise of a random matrix; law of one number, whose posterior is N(.8, .447^2)."""
    draws = torch.Generator().manual_seed(seed)
    matrix = torch.randn(3, 8, generator=draws, dtype=torch.float64)
    y = torch.randn(3, generator=draws, dtype=torch.float64)
    prior = gk.priors.Gaussian(torch.zeros(8, dtype=torch.float64), 1.0, gk.processes.EDM())
    exact = gk.objectives.LinearGaussian(matrix, y, 0.0)
    met = gk.sample(prior, gk.guidance.DDRM(exact), 200, 20, seed).samples
    one = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    noisy = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 0.5)
    x = gk.sample(one, gk.guidance.DDRM(noisy), 4000, 20, seed).samples
    return {
        "misfit": float((met @ matrix.T - y).abs().max()),
        "mean": float(x.mean()),
        "std": float(x.std()),
    }


CLAIM = Claim(
    row="E21",
    method="DDRM (2201.11793)",
    provides=("guidance.DDRM",),
    tier="",
    says="Three numbers measured without noise by a random matrix are met exactly in 20 steps. Of one number measured "
    "with noise .5 (posterior N(.80, .447^2)) the mean is right within .05, and the spread is less than three quarters "
    "of the truth.",
    domains=("exact",),
    checks=(
        Check("largest misfit without noise", "misfit", most=1e-6),
        Check("mean with noise", "mean", least=0.75, most=0.85),
        Check("deviation with noise: too narrow", "std", least=0.15, most=0.335),
    ),
    measure=measure,
    oracles=("tests/oracles/test_inverse_moments.py::test_ddrm_has_one_rule_for_each_kind_of_number",),
    longer="4x super-resolution of 40 pictures, a few minutes",
)
