"""Row E22: measurements without noise are met exactly, in less error than by putting them back."""

from __future__ import annotations

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim


def measure(seed: int) -> dict[str, float]:
    """Misfit and mean of the rest without noise; spread of one number with noise."""
    prior = gk.priors.Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]), gk.processes.VP("cosine"))
    known = gk.objectives.LinearGaussian(torch.tensor([[1.0, 0.0]]), torch.ones(1), 0.0)
    x = gk.sample(prior, gk.guidance.DDNM(known), 4000, 20, seed).samples
    back = gk.sample(prior, gk.guidance.Replacement(known), 4000, 20, seed).samples
    one = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    noisy = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 0.5)
    spread = gk.sample(one, gk.guidance.DDNM(noisy), 4000, 20, seed).samples
    errors = [abs(float(each[:, 1].mean()) - 0.9) for each in (x, back)]
    return {
        "misfit": float((x[:, 0] - 1).abs().max()),
        "error": errors[0],
        "error less that of replacement": errors[0] - errors[1],
        "std": float(spread.std()),
    }


CLAIM = Claim(
    row="E22",
    method="DDNM (2212.00490)",
    provides=("guidance.DDNM", "guidance.Replacement"),
    tier="",
    says="Of two numbers with correlation .9 one is known to be 1: it is met exactly in 20 steps, and the mean of the "
    "other is nearer to the truth (.9) than with Replacement by .1 at least. With noise it is no posterior: one number "
    "measured with noise .5 has no spread left (truth .447).",
    domains=("exact",),
    checks=(
        Check("largest misfit without noise", "misfit", most=1e-6),
        Check("error of the mean of the rest, less that of replacement", "error less that of replacement", most=-0.1),
        Check("deviation with noise: none", "std", most=0.05),
    ),
    measure=measure,
    oracles=("tests/oracles/test_inverse_moments.py::test_ddnm_steps_have_the_noise_of_the_level_in_every_number",),
    longer="4x super-resolution and masks of 40 pictures, a few minutes",
)
