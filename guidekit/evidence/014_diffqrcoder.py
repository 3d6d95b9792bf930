"""Row 14: pictures of a generator that imitates a QR code, guided until a reader reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

TEXT, PIXELS, MARGIN, SAMPLES, STEPS, SCALE = "GK 0.2", 5, 0.05, 32, 30, 3000.0
CONTRAST, SPREAD, GRAIN, CORNER = 0.35, 0.28, 0.05, 4.0
"""Of the generator: contrast of the code, deviation of the clouds over it and of their grain, where the clouds fall."""


def generator(code: Tensor) -> Any:
    """Clouds over a faint code, a Gaussian field: what a model conditioned on the code's picture gives."""
    mean = (CONTRAST * (2 * code - 1)).repeat_interleave(PIXELS, 0).repeat_interleave(PIXELS, 1)
    place = torch.arange(len(mean)).double()
    falling = (1 + (place[:, None] ** 2 + place[None] ** 2) / CORNER**2) ** -1.5
    variances = SPREAD**2 * falling / falling.mean() + GRAIN**2
    return gk.priors.GaussianField(mean[None].double(), variances[None], basis="cosine")


def measure(seed: int) -> dict[str, float]:
    """Shares of codes that OpenCV reads, and squares over their expectation under the generator's law."""
    from guidekit.domains.images.qr import Scannable, scanned

    reward = Scannable(TEXT, pixels=PIXELS, margin=MARGIN)
    prior = generator(reward.code)
    sampler = gk.samplers.DPMSolver(times={"name": "karras", "low": 0.02, "high": 20.0})

    def draws(scale: float) -> Tensor:
        guidance = gk.guidance.GradientGuidance(reward, scale) if scale else None
        return gk.sample(prior, guidance, SAMPLES, STEPS, seed, sampler).samples

    def read(x: Tensor) -> float:
        pictures = ((x[:, 0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        return float(np.mean([scanned(one) == TEXT for one in pictures]))

    def unlikely(x: Tensor) -> float:
        gap = x - prior.mean
        return float((gap * prior.precision(gap)).flatten(1).mean())

    plain, guided = draws(0.0), draws(SCALE)
    x = (2 * reward.code - 1).repeat_interleave(PIXELS, 0).repeat_interleave(PIXELS, 1)[None, None]
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(reward(x).sum(), x)
    return {
        "read, guided": read(guided),
        "read, unguided": read(plain),
        "less likely by": unlikely(guided) / unlikely(plain) - 1,
        "gradient of correct modules": float(slope.abs().max()),
        "modules wrong, unguided": float(-reward(plain).mean()),
        "modules wrong, guided": float(-reward(guided).mean()),
    }


CLAIM = Claim(
    row=14,
    method="DiffQRCoder",
    provides=("objectives.Margin",),
    tier="B",
    says="OpenCV reads at least 95 % of guided codes and below 70 % of unguided ones of the same generator (clouds over"
    " a faint code, a Gaussian field of 145 x 145 pixels), and the mean square of samples in the metric of the"
    " generator's law, which falls as log-likelihood rises, grows by less than 10 %; correct modules have no gradient"
    " (32 codes a seed, 30 steps).",
    domains=("exact",),
    checks=(
        Check("share of guided codes that are read", "read, guided", least=0.95),
        Check("share of unguided codes that are read", "read, unguided", most=0.7),
        Check("growth of the mean square", "less likely by", most=0.1),
        Check("largest gradient of correct modules", "gradient of correct modules", most=0),
    ),
    measure=measure,
    oracles=("tests/images/test_qr.py::test_only_wrong_modules_have_a_gradient",),
    longer="codes over trained pictures, which need a prior of more than 32 x 32 pixels",
)
