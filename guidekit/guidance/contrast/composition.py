"""Several conditions at once: AND, NOT, negatives made orthogonal, concepts that a condition neglects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from guidekit.core.state import column
from guidekit.core.support import Support
from guidekit.guidance.contrast import (
    LINEAR,
    NULL,
    Contrast,
    Given,
    Number,
    Schedules,
    Weight,
    check_finite,
    contrast,
    formal,
    rules,
)
from guidekit.guidance.contrast.rule import NEVER
from guidekit.registry import register


@register("guidance", "compose")
def Compose(  # noqa: N802 - a preset
    weight: Weight = 2.0,
    also: Sequence[Any] = (),
    avoid: Sequence[Any] = (),
    also_weights: Sequence[float] | None = None,
    avoid_weights: Sequence[float] | None = None,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """AND and NOT of conditions: D_0 + w (D_c - D_0) + sum_i w_i (D_i - D_0) - sum_j w_j (D_j - D_0).

    c is condition=, i runs over `also`, j over `avoid`. A NOT differs from `CFG(negative=...)` by D_n - D_0: here the
    base is the null condition, there the negative one takes its place. Of tokens the log-probabilities are added.

    Args:
        weight: w of condition=, number or function of t.
        also, avoid: further conditions, each what `Prior.condition` takes.
        also_weights, avoid_weights: one weight each; None is `weight`, and where that is scheduled follows it.
        schedule, rescale: see `CFG`; where the weight is 1, the other branches still act.

    Raises:
        ValueError: as many weights as conditions are needed.

    Source: Liu et al. 2022, arXiv:2206.01714, eq. 11-13.
    """
    signed: list[tuple[float, float | None]] = []
    for name, sign, given, weights in (("also", 1.0, also, also_weights), ("avoid", -1.0, avoid, avoid_weights)):
        if weights is not None and len(weights) != len(given):
            raise ValueError(f"{name}_weights has {len(weights)} numbers for {len(given)} conditions in {name}")
        for number in weights or ():
            check_finite("Compose", **{f"{name}_weights": number})
        signed += [(sign, number) for number in (weights or (None,) * len(given))]

    def formula(support: Support, w: Number, base: Tensor, own: Tensor, *others: Tensor) -> Tensor:
        total = rules.linear(base, own, w)
        for other, (sign, number) in zip(others, signed, strict=True):
            total = total + sign * (w if number is None else number) * (other - base)
        return total

    branches = (NULL, *(Given(value) for value in (*also, *avoid)))
    rule = formal(formula, neutral=NEVER) if signed else LINEAR
    return contrast("Compose", branches, rule, weight, schedule, rescale)


@register("guidance", "perp_neg")
def PerpNeg(  # noqa: N802
    weight: Weight = 2.0,
    negatives: Sequence[Any] = (),
    strength: float = 1.0,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Perp-Neg: D_0 + w (p - b sum_j n_j'), n_j' the part of a negative direction that is orthogonal to p = D_c - D_0.

    A negative parallel to the condition changes nothing, an orthogonal one acts as the NOT of `Compose`. The inner
    products are those of every sample.

    Args:
        weight: w.
        negatives: conditions to move away from, each what `Prior.condition` takes.
        strength: b.
        schedule, rescale: see `CFG`; where the weight is 1, the negatives still act.

    Source: Armandpour et al. 2023, arXiv:2304.04968, eq. 8.
    """
    check_finite("PerpNeg", strength=strength)

    def formula(support: Support, w: Number, base: Tensor, own: Tensor, *others: Tensor) -> Tensor:
        return rules.perpendicular(support, base, own, others, w, strength)

    branches = (NULL, *(Given(value) for value in negatives))
    return contrast(
        "PerpNeg", branches, formal(formula, neutral=NEVER if negatives else 1.0), weight, schedule, rescale
    )


@register("guidance", "concepts")
def ConceptDivergence(  # noqa: N802
    weight: Weight = 2.0,
    concepts: Sequence[Any] = (),
    strength: float = 0.5,
    tolerance: float = 0.0,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """D_0 + w g + sum of w_i g_i over concepts whose direction g_i is further from the condition's g than the mean.

    A concept diverges where cos(g, g_i) lies more than `tolerance` below the mean of all concepts at that step; g_i is
    brought to the length of g. Aligned concepts add nothing. Acts on noise predictions, of tokens on centered logits.

    Args:
        weight: w.
        concepts: two or more conditions, each what `Prior.condition` takes: a part of condition= each.
        strength: w_i / w.
        tolerance: of the cosines.
        schedule, rescale: see `CFG`; where the weight is 1 nothing is added.

    Source: reconstructed from Kang et al. 2023, arXiv:2312.15964; threshold, weights and their relative form are ours.
    """
    check_finite("ConceptDivergence", strength=strength, tolerance=tolerance)

    def formula(support: Support, w: Number, base: Tensor, own: Tensor, *others: Tensor) -> Tensor:
        whole, parts = own - base, [other - base for other in others]
        total = base + w * whole
        if not parts:
            return total
        _, away = rules.diverging(support, whole, parts, tolerance)
        for part, rows in zip(parts, away.unbind(1), strict=True):
            length = rules.ratio(support.norm(whole), support.norm(part))
            total = total + strength * w * column(rows.to(base) * length, base) * part
        return total

    branches = (NULL, *(Given(value) for value in concepts))
    return contrast("ConceptDivergence", branches, formal(formula, "noise"), weight, schedule, rescale)
