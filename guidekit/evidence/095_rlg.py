"""Row 95: the guided law of a Gaussian with a linear reward has the KL coefficient beta / w."""

from __future__ import annotations

import itertools

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

MEAN, VARIANCE, SLOPE, BETA = 0.3, 0.8, 1.2, 2.0
WEIGHTS = (0.5, 1.0, 1.6, 3.0)


def measure(seed: int) -> dict[str, float]:
    """Relative errors of mean and variance for every weight, and the mean reward along them."""
    process = gk.processes.VP("cosine")
    shift = VARIANCE * SLOPE / BETA
    base, aligned = (gk.priors.Gaussian(torch.tensor([m]), VARIANCE, process) for m in (MEAN, MEAN + shift))
    means, variances = [], []
    for weight in WEIGHTS:
        x = gk.sample(aligned, gk.guidance.RLG(base, weight), 40_000, 60, seed, "heun", batch_size=40_000).samples
        means.append(float(x.double().mean()))
        variances.append(float(x.double().var()))
    return {
        "mean": max(abs(m / (MEAN + w * shift) - 1) for m, w in zip(means, WEIGHTS, strict=True)),
        "variance": max(abs(v / VARIANCE - 1) for v in variances),
        "least rise": min(SLOPE * (b - a) for a, b in itertools.pairwise(means)),
    }


CLAIM = Claim(
    row=95,
    method="RLG",
    provides=("guidance.RLG",),
    tier="A",
    says="A base N(m, s^2) and its law aligned with a linear reward of slope g at KL coefficient beta give N(m"
    " + w s^2 g / beta, s^2) within 2 % for weights .5, 1, 1.6 and 3, and the mean reward rises with the "
    "weight.",
    domains=("exact",),
    checks=(
        Check("mean, largest relative error of four weights", "mean", most=0.02),
        Check("variance, largest relative error of four weights", "variance", most=0.02),
        Check("mean reward rises with the weight, least rise", "least rise", least=0),
    ),
    measure=measure,
    oracles=("tests/oracles/test_weak_models.py::test_rlg_has_the_divided_kl_coefficient",),
    longer="priors fine-tuned on a reward in two domains, and the weight at which quality breaks; needs such priors",
)
