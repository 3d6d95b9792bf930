"""Row 2: classifier-free guidance against its closed forms, and what its weight buys on a mixture."""

from __future__ import annotations

import itertools
from typing import Any

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

WEIGHTS = (1.0, 2.0, 3.0, 5.0)
COSINE = gk.processes.VP("cosine")
MIXTURE = gk.priors.GaussianMixture(
    torch.tensor([[1.0, 0.0], [-0.6, 0.8], [-0.6, -0.8]]), 1.6, torch.tensor([0.5, 0.3, 0.2]), COSINE
)


def pair(
    c: tuple[float, float], null: tuple[float, float], process: gk.processes.GaussianProcess
) -> gk.priors.ClassConditional:
    """A conditional and an unconditional Gaussian in one dimension, each (mean, variance)."""
    laws = [gk.priors.Gaussian(torch.tensor([mean]), variance, process) for mean, variance in (null, c)]
    return gk.priors.ClassConditional(laws[0], laws[1:])


def judged(samples: torch.Tensor) -> float:
    """Share that the Bayes classifier takes for component 0."""
    distance = (samples[:, None] - MIXTURE.means).square().sum(-1) / (2 * 1.6**2)
    return float(((MIXTURE.log_w - distance).argmax(1) == 0).double().mean())


def measure(seed: int) -> dict[str, float]:
    """Relative errors of moments; accuracy and spread along the weights, from the same noise."""
    options: dict[str, Any] = dict(condition=0, sampler="heun", seed=seed, batch_size=40_000)
    mean = gk.sample(pair((0.5, 1.0), (-0.3, 1.0), COSINE), gk.guidance.CFG(3.0), 20_000, 40, **options).samples.mean()
    exploding = pair((0.0, 0.25), (0.0, 1.69), gk.processes.EDM(0.002, 500.0))
    std = gk.sample(exploding, gk.guidance.CFG(3.0), 40_000, 300, **options).samples.std()
    found = [gk.sample(MIXTURE, gk.guidance.CFG(w), 4_000, 30, **options).samples for w in WEIGHTS]
    plain = gk.sample(MIXTURE, None, 4_000, 30, **options).samples
    accuracy, spread = [judged(x) for x in found], [float(x.std(0).mean()) for x in found]
    return {
        "error of the mean": abs(float(mean) / 2.1 - 1),
        "error of the deviation": abs(float(std) / (0.5**3 / 1.3**2) - 1),
        "values that differ at w = 1": float((found[0] != plain).sum()),
        "least rise of accuracy": min(b - a for a, b in itertools.pairwise(accuracy)),
        "least fall of spread": min(a - b for a, b in itertools.pairwise(spread)),
        **{f"accuracy at w = {w:g}": one for w, one in zip(WEIGHTS, accuracy, strict=True)},
        **{f"spread at w = {w:g}": one for w, one in zip(WEIGHTS, spread, strict=True)},
    }


CLAIM = Claim(
    row=2,
    method="CFG",
    provides=("guidance.CFG",),
    tier="A",
    says="Gaussians of equal variance end at mean w m_c + (1 - w) m_0, unequal ones under the ODE at the "
    "deviation s_c^w s_0^(1 - w); weight 1 is the conditional model bit for bit; on a mixture of three, "
    "accuracy rises and the spread of samples falls with every weight of 1, 2, 3, 5.",
    domains=("exact",),
    checks=(
        Check("mean at w = 3 (2.1), relative error", "error of the mean", most=0.02),
        Check("deviation at w = 3 (.07396), relative error", "error of the deviation", most=0.02),
        Check(
            "numbers of 4,000 samples that differ from the conditional model's", "values that differ at w = 1", most=0
        ),
        Check("accuracy rises with w, least rise", "least rise of accuracy", least=0),
        Check("spread falls with w, least fall", "least fall of spread", least=0),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_gaussian.py::test_cfg_equal_covariances_shifts_the_mean",
        "tests/oracles/test_gaussian.py::test_cfg_weight_one_is_the_conditional_model_bit_for_bit",
    ),
    longer="accuracy and diversity along the weights on the trained priors of images, molecules, DNA and audio, "
    "an hour",
)
