"""Guidance by the gradient of a value of noisy states; the network of the prior is not looked through."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer
from guidekit.core.network import slopes
from guidekit.core.objective import Objective
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, batch, column
from guidekit.guidance.values.learned import LearnedValue
from guidekit.objectives.reward import Value, objective_of
from guidekit.registry import register

LEAST = 0.01
"""Signal over noise below which a state tells nothing: s^2 / a would blow up what little a gradient is wrong by."""


@register("guidance", "classifier")
@dataclasses.dataclass(frozen=True, eq=False)
class ClassifierGuidance(Guidance[None]):
    """score(x_t) + scale * grad_x value(x_t, t): with the exact value and scale 1 the score of the tilted law.

    The value is log p(y | x_t) of a classifier of noisy states or log E[exp(eta r(x_0)) | x_t]. Where next to no
    signal is left (a < `LEAST` s), nothing is added. The gradient is taken per sample.

    Args:
        value: of noisy states, nats, differentiable; or a function (x (B, *S), t) -> (B,).
        scale: a number or a function of t; 0 is unguided.

    Source: Dhariwal & Nichol 2021, arXiv:2105.05233, eq. 10; for values Oertell et al. 2025, arXiv:2505.21666, eq. 6.
    """

    value: LearnedValue | Objective
    scale: float | Callable[[float], float] = 1.0
    layer = Layer.ESTIMATE
    requires = frozenset({Fact.FLOW, Fact.WHOLE, Fact.GRADIENT})

    def __post_init__(self) -> None:
        """Take functions for values; refuse a scale that is no number."""
        given = self.value
        if not isinstance(given, Objective) and callable(given) and not isinstance(given, type):
            object.__setattr__(self, "value", Value(given))
        objective_of(self.value, "ClassifierGuidance", "a value of noisy states")
        if isinstance(self.scale, int | float) and not math.isfinite(self.scale):
            raise ValueError(f"scale must be a finite number, got {self.scale}")

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return (self.value,)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The value must look at noisy states: a gradient of what looks at clean ones goes through the network."""
        if self.value.on != "noisy":
            raise GuidanceError(
                f"ClassifierGuidance takes a value of noisy states; {self.value.name} is of clean ones: use DPS"
            )

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """The inner prediction, its mean moved by scale s^2 / a grad value."""
        prediction: Any = inner(question)
        scale = self.scale(question.moment.t) if callable(self.scale) else self.scale
        if scale == 0:
            return prediction
        with torch.enable_grad():
            leaf = question.x.detach().requires_grad_()
            gradient = slopes(question.score(self.value, altered(prediction, x=leaf)), leaf)
        question.population.setup.network.ledger.count(value_calls=batch(leaf))
        a, s = (torch.as_tensor(c, dtype=leaf.dtype, device=leaf.device) for c in (prediction.a, prediction.s))
        size = torch.where(a > LEAST * s, s * s / a.clamp_min(1e-12), 0.0)

        def moved(support: object, mean: Tensor) -> Tensor:
            return mean + scale * column(size, mean) * gradient.to(mean)

        return prediction.map(moved)
