"""Adaptive guidance: the unconditional branch is left out once both agree."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from guidekit.core.prediction import Prediction, Space
from guidekit.core.question import Question
from guidekit.core.support import Support
from guidekit.errors import UnknownNameError
from guidekit.guidance.contrast import (
    Answers,
    Contrast,
    Number,
    Rule,
    Schedules,
    Weight,
    base,
    check_finite,
    check_range,
    contrast,
    everywhere,
    recalled,
    rules,
)
from guidekit.guidance.contrast.engine import RememberingContrast
from guidekit.registry import register

SPACES = ("noise", "clean")


@register("guidance", "adaptive")
def AdaptiveGuidance(  # noqa: N802 - a preset
    weight: Weight = 2.0,
    negative: Any = None,
    schedule: Schedules = None,
    rescale: float = 0.0,
    threshold: float = 0.99,
    guide_last: bool = False,
    first: int = 0,
    space: str = "noise",
) -> Contrast:
    """CFG until both predictions of a sample agree, the conditional model alone from then on.

    A sample switches for good at the first step at which the cosine of its two predictions (of tokens: of its centered
    logits) is at least `threshold`; the base is then asked for the other samples only.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        threshold: above 1 never switches; -1 guides one step. Cosines depend on the prior: look at the record "cosine".
        guide_last: whether the step that switches is still guided.
        first: steps at the start in which no sample switches: where all is noise, the predictions agree trivially.
        space: of the cosine, "noise" as published or "clean". Where sampling starts from much noise
            (EDM, VE), noise predictions agree at first and part at the end; clean estimates come together throughout.

    Source: Castillo et al. 2023, arXiv:2312.12487, section 4.
    """
    if space not in SPACES:
        raise UnknownNameError("space", str(space), SPACES)
    check_finite("AdaptiveGuidance", threshold=threshold)
    check_range("AdaptiveGuidance", first=first)

    def combine(answers: Answers, weight: Number) -> Prediction:
        cosines, question = agreement(answers.base, answers.own, space), answers.question
        question.record("cosine", cosines)
        now, before = (cosines >= threshold) & (question.moment.index >= first), answers.recall()
        if not guide_last and bool(now.any()):
            weight = torch.where(now, torch.ones_like(cosines), weight)
        guided = answers.base.lerp(answers.own, weight)
        return guided.noting(answers.owner, now if before is None else now | before)

    rule = Rule(combine, remembers=True)
    made = contrast("AdaptiveGuidance", base(negative), rule, weight, schedule, rescale)
    return Adaptive(made.branches, made.rule, made.weight, made.name)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Adaptive(RememberingContrast[Tensor]):
    """A contrast of weight 1 for the rows that have agreed: what its rule keeps, bool (B,)."""

    def weight_of(self, question: Question) -> Number:
        """See `Contrast.weight_of`."""
        weight, agreed = super().weight_of(question), recalled(question, self)
        if agreed is None or everywhere(agreed, False):
            return weight
        return torch.where(agreed, torch.ones_like(agreed, dtype=torch.float64), weight)


def agreement(a: Prediction, b: Prediction, space: Space = "noise") -> Tensor:
    """Cosine (B,) float64 of two predictions in a space, over all parts; 1 where one of them is zero."""
    products: list[tuple[Tensor, ...]] = []

    def act(support: Support, a: Tensor, b: Tensor) -> Tensor:
        a, b = a.double(), b.double()
        products.append((support.dot(a, b), support.dot(a, a), support.dot(b, b)))
        return a

    a.map(act, b, space=space)
    across, first, second = (torch.stack(column).sum(0) for column in zip(*products, strict=True))
    return rules.ratio(across, (first * second).sqrt(), 1.0)
