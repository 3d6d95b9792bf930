"""Row 57: guidance without a backward pass through the network and without tuning, against tuned DPS."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.objectives.operators.base import Operator
from guidekit.objectives.operators.masks import Keep
from guidekit.objectives.operators.resampling import BlockMean

PICTURES, STEPS = 8, 18
ZETAS = (1.0, 2.0)
"""Step sizes of DPS, of which the best is taken in every task."""


class Curve(Operator):
    """Means of 2 x 2 pixels through a saturating curve."""

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return torch.tanh(2 * F.avg_pool2d(x, 2))


def tasks() -> dict[str, tuple[Operator, float]]:
    """Operators and noise by name."""
    mask = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.3
    return {
        "superresolution": (BlockMean((1, 28, 28), 4), 0.01),
        "random pixels": (Keep(mask), 0.01),
        "saturation": (Curve(), 0.05),
    }


def measure(seed: int) -> dict[str, float]:
    """PSNR (dB) of Fashion-MNIST test pictures, one draw each."""
    domain = gk.load_domain("images")
    prior = domain.load_prior()
    pictures = list(domain.reference(prior=prior))[seed * PICTURES : (seed + 1) * PICTURES]
    truth = prior.encode(pictures)
    times = levels(prior)
    sampler, figures = gk.samplers.Ancestral(times=times), {}
    for name, (operator, noise) in tasks().items():
        y = operator.forward(truth)
        y = y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
        if isinstance(operator, Keep):
            y = operator.forward(y)
        likelihood = gk.objectives.GaussianLikelihood(operator, y, noise)
        runs = {"Dreamguider": gk.guidance.Dreamguider(likelihood)}
        runs |= {f"DPS {zeta:g}": gk.guidance.DPS(likelihood, zeta) for zeta in ZETAS}
        for method, guidance in runs.items():
            result = gk.sample(prior, guidance, PICTURES, STEPS, seed, sampler)
            gap = (result.samples.clamp(-1, 1) - truth).square().flatten(1).mean(1)
            figures[f"{method}, {name}"] = float(-10 * torch.log10(gap / 4).mean())
            if method == "Dreamguider":
                figures[f"backward passes, {name}"] = float(result.ledger.backward_passes)
        best = max(figures[f"DPS {zeta:g}, {name}"] for zeta in ZETAS)
        figures[f"share of DPS, {name}"] = figures[f"Dreamguider, {name}"] / best
    figures["backward passes"] = sum(value for name, value in figures.items() if name.startswith("backward"))
    return figures


def levels(prior: gk.priors.Prior) -> list[float]:
    """Times at noise levels from 10 to .1, even in their seventh roots, and the end."""
    high, low, last = 10.0 ** (1 / 7), 0.1 ** (1 / 7), STEPS - 2
    found = [(high + i / last * (low - high)) ** 7 for i in range(STEPS - 1)]
    return [*(prior.process.at_level(level) for level in found), 0.0]  # type: ignore[attr-defined]


CLAIM = Claim(
    row=57,
    method="Dreamguider",
    provides=("guidance.Dreamguider",),
    tier="A",
    says="With one scale for all, and no backward pass through the network, the PSNR of 8 test pictures a seed is at "
    "least 90 % of that of DPS with the better of two step sizes a task: 4x superresolution, 30 % of the "
    "pixels, and means of 2 x 2 pixels through a saturating curve (18 steps).",
    domains=("images",),
    checks=(
        *(Check(f"share of tuned DPS: {name}", f"share of DPS, {name}", least=0.9) for name in tasks()),
        Check("backward passes through the network", "backward passes", most=0),
    ),
    measure=measure,
    oracles=("tests/oracles/test_gradient.py::test_dreamguider_never_looks_through_the_network",),
    longer="200 pictures and 100 steps, two hours",
)
