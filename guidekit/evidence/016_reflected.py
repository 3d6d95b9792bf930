"""Row 16: reflected diffusion samples the law of a box, and never leaves it."""

from __future__ import annotations

import math

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

N = 4_000
BINS = 64


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    """Distribution function of N(.8, .3^2), most of whose right tail the box cuts off."""
    return torch.distributions.Normal(0.8, 0.3).cdf(x)


def distance(x: torch.Tensor, cdf: torch.Tensor) -> float:
    """sqrt(n) times Kolmogorov's distance between values and a law with weights in equal bins of [0, 1]."""
    edges = torch.linspace(0, 1, len(cdf), dtype=torch.float64)
    x = x.double().sort().values
    right = torch.searchsorted(edges, x).clamp(1, BINS)
    share = (x - edges[right - 1]) / (edges[right] - edges[right - 1])
    exact = cdf[right - 1] + share * (cdf[right] - cdf[right - 1])
    steps = torch.arange(len(x) + 1, dtype=torch.float64) / len(x)
    return math.sqrt(len(x)) * float(torch.maximum(steps[1:] - exact, exact - steps[:-1]).max())


def measure(seed: int) -> dict[str, float]:
    """Kolmogorov's distances of a uniform and a truncated normal law, and what is outside the box at any step."""
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    cut = (normal_cdf(edges) - normal_cdf(edges[0])) / (normal_cdf(edges[-1]) - normal_cdf(edges[0]))
    outside = [0.0]

    def watch(progress: object) -> None:
        x = progress.population.state  # type: ignore[attr-defined]
        outside[0] += float(((x < 0) | (x > 1)).sum())

    figures = {}
    for name, cdf in (("uniform", edges), ("truncated", cut)):
        prior = gk.priors.BoxHistogram(cdf.diff()[None])
        x = gk.sample(prior, None, N, 100, seed, "ancestral", progress=watch).samples[:, 0]
        figures[f"{name} law"] = distance(x, cdf)
    laws = [gk.priors.BoxHistogram(weights[None]) for weights in (torch.ones(BINS), cut.diff().float())]
    guided = gk.priors.ClassConditional(laws[0], laws[1:])
    x = gk.sample(guided, gk.guidance.CFG(5.0), 1_000, 100, seed, "ancestral", condition=0, progress=watch).samples
    return {**figures, "numbers outside": outside[0], "mean under CFG": float(x.mean())}


CLAIM = Claim(
    row=16,
    method="ReflectedDiffusion",
    provides=("processes.ReflectedProcess",),
    tier="A",
    says="Samples of a uniform law and of a normal law truncated to the box pass the test of Kolmogorov and "
    "Smirnov at 5 % (4,000 samples, 100 steps), and no state leaves the box at any step, under CFG of "
    "weight 5 neither.",
    domains=("exact",),
    checks=(
        Check("uniform law: sqrt(n) times the distance", "uniform law", most=1.358, by="mean"),
        Check("truncated normal law: sqrt(n) times the distance", "truncated law", most=1.358, by="mean"),
        Check("numbers outside the box at any step", "numbers outside", most=0),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_reflected.py::test_score_is_the_gradient_of_the_log_of_mirror_images",
        "tests/oracles/test_reflected.py::test_samples_have_the_law_of_the_prior",
    ),
    longer="mass at the walls at w = 5 beside thresholded sampling, with a network trained on either process",
)
