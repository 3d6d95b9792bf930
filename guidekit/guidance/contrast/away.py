"""Guidance away from a worse answer to the same question, with classifier-free guidance in the same call or without.

D = D_0 + w (D_c - D_0) + s (D_c - D_hat). s = 0 is CFG of weight w, bit for bit and at its cost, and w = 1 leaves the
first term out: then no condition is needed. On tokens log-probabilities are combined and normalized again.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from guidekit.core.prediction import Prediction
from guidekit.core.question import Question
from guidekit.core.state import column
from guidekit.core.support import Support
from guidekit.guidance.contrast import (
    LINEAR,
    NULL,
    Answers,
    Branch,
    Contrast,
    Number,
    Rule,
    Scheduled,
    Schedules,
    Weight,
    check_finite,
    contrast,
    everywhere,
    scheduled,
)
from guidekit.guidance.contrast.rule import NEVER


def beside(scale: float | Scheduled) -> Rule:
    """base + w (own - base) + s (own - hat), hat the answer to the second branch; s a number or made of a question."""

    def scale_of(question: Question) -> Number:
        return scale(question) if callable(scale) else scale

    def asks(weight: Number, question: Question) -> Sequence[bool]:
        return (not everywhere(weight, 1), not everywhere(scale_of(question), 0))

    def combine(answers: Answers, weight: Number) -> Prediction:
        (base, hat), given = answers.others, scale_of(answers.question)
        if hat is None:
            return base.lerp(answers.own, weight)
        if base is None:
            return hat.lerp(answers.own, 1 + given)

        def formula(support: Support, w: Number, base: Tensor, own: Tensor, hat: Tensor) -> Tensor:
            s = column(given.to(own.dtype), own) if isinstance(given, Tensor) else given
            return base + w * (own - base) + s * (own - hat)

        return answers.mapped(formula, weight)

    return Rule(combine, NEVER, timeless=not callable(scale), asks=asks)


def away(
    name: str, hat: Branch, scale: Weight, weight: Weight = 1.0, schedule: Schedules = None, rescale: float = 0.0
) -> Contrast:
    """Away from what a branch says: what presets of perturbed networks are made with.

    Args:
        name: for messages and the keys of random numbers.
        hat: the branch.
        scale: s, dimensionless; a number, or a function of t (number or (B,)).
        weight: w of classifier-free guidance in the same call; 1 is without it.
        schedule: when the scale holds, see `CFG`: it acts on 1 + s, the weight of D_c against D_hat.
        rescale: see `CFG`.
    """
    if not callable(scale):
        check_finite(name, scale=scale)
    if scale == 0 and not callable(weight):
        return contrast(name, (NULL,) if weight != 1 else (hat,), LINEAR, weight, None, rescale)
    if not callable(weight) and weight == 1:
        over = (lambda t: 1 + scale(t)) if callable(scale) else 1 + scale
        return contrast(name, (hat,), LINEAR, over, schedule, rescale)
    return contrast(name, (NULL, hat), beside(scheduled(name, scale, schedule, neutral=0.0)), weight, None, rescale)
