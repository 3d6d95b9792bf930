"""Row 32: three functions guide pictures, piano rolls and two kinds of tokens without a change; the exact cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.evidence.claim import Check, Claim

SAMPLES, STEPS = 8, 12


def lean(features: Tensor) -> Tensor:
    """Mean of the first half of all features minus that of the second."""
    first, second = features.tensor_split(2, 1)
    return first.mean(1) - second.mean(1)


def level(features: Tensor) -> Tensor:
    """Minus the squared distance of the mean of the first quarter of all features to .9."""
    return -(features[:, : features.shape[1] // 4].mean(1) - 0.9).square()


def peak(features: Tensor) -> Tensor:
    """A smooth maximum of means of eight neighbors."""
    means = features[:, : features.shape[1] // 8 * 8].unflatten(1, (-1, 8)).mean(-1)
    return torch.logsumexp(20 * means, 1) / 20


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"lean": lean, "level": level, "peak": peak}


class Features(Objective[None]):
    """A function of the entries of real states, or of the probabilities of tokens, as (B, F) numbers."""

    differentiable = True

    def __init__(self, function: Callable[[Tensor], Tensor], tokens: int) -> None:
        self.function, self.tokens = function, tokens

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Of laws of tokens (B, L, V), position by position for one token after the other."""
        return self.function(probabilities.transpose(1, 2).flatten(1))

    def scores(self, states: Tensor, t: float | Tensor, rows: None) -> Tensor:
        """See `Objective.scores`."""
        if not self.tokens:
            return self.function(states.flatten(1))
        return self.relaxed(torch.nn.functional.one_hot(states.clamp_max(self.tokens - 1), self.tokens).float())


def gains(domain: str, prior: Prior, seed: int) -> dict[str, float]:
    """By how much each function rises, in standard deviations of unguided samples."""
    process: Any = prior.process
    tokens = getattr(process, "vocab_size", 0)
    options: dict[str, Any] = dict(num_samples=SAMPLES, steps=STEPS, seed=seed)
    plain, found = gk.sample(prior, None, **options).samples, {}
    for name, function in FUNCTIONS.items():
        reward = Features(function, tokens)
        before = reward(plain).double()
        spread = max(float(before.std()), 1e-3)  # of tokens that no sample has there is none
        scale = (3.0 if tokens else 1.0) / spread
        guided = gk.sample(prior, gk.guidance.UniversalGuidance(reward, scale), **options).samples
        found[f"{name} on {domain}"] = float(reward(guided).double().mean() - before.mean()) / spread
    return found


def measure(seed: int) -> dict[str, float]:
    """Gains on four domains; the score of DPS-type guidance and the bias on N(0, 1), y = 1, noise .5."""
    figures: dict[str, float] = {}
    for domain in ("images", "chorales", "molecules", "dna"):
        figures |= gains(domain, gk.load_domain(domain).load_prior(), seed)
    figures["least gain"] = min(figures.values())
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 1.0, gk.processes.VP())
    likelihood = gk.objectives.LinearGaussian(torch.ones(1, 1), torch.ones(1), 0.5)
    given: dict[str, Any] = dict(num_samples=1000, steps=100, seed=seed, sampler="ancestral", dtype=torch.float64)
    found = gk.sample(prior, gk.guidance.UniversalGuidance(likelihood), **given).samples
    same = gk.sample(prior, gk.guidance.GradientGuidance(likelihood, place="score"), **given).samples
    figures["difference from DPS as a score"] = float((found - same).abs().max())
    figures |= {"mean, .80 is true": float(found.mean()), "spread, .447 is true": float(found.std())}
    return figures


CLAIM = Claim(
    row=32,
    method="UniversalGuidance",
    provides=("guidance.UniversalGuidance",),
    tier="A",
    says="Three functions (a contrast of halves, a distance to a level, a smooth maximum) guide images, chorales, "
    "and the tokens of molecules and DNA without a change, each mean rising by .3 standard deviations at least "
    "(8 samples, 12 steps). With one visit and no backward steps it is the gradient of DPS as a score, to the "
    "last bit; on a Gaussian with posterior N(.80, .447^2) its bias is told. Trajectories, which are asked for, "
    "are not measured.",
    domains=("exact", "images", "audio", "molecules", "dna"),
    checks=(
        Check("least gain of three functions on four domains, standard deviations", "least gain", least=0.3, by="mean"),
        Check("largest difference from the gradient of DPS as a score", "difference from DPS as a score", most=0),
        Check("mean, where .80 is true", "mean, .80 is true", least=0.9, most=1.05),
        Check("spread, where .447 is true", "spread, .447 is true", least=0.25, most=0.42),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_gradient.py::test_universal_guidance_is_its_update",
        "tests/oracles/test_gradient.py::test_tokens_are_exact_for_sums_over_independent_tokens",
    ),
    longer="trajectories, 200 samples, an hour",
)
