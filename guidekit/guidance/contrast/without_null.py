"""Guidance of networks that were trained without a null condition: random conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guidekit.guidance.contrast.branches import Drawn
from guidekit.guidance.contrast.engine import Contrast, contrast
from guidekit.guidance.contrast.rule import LINEAR
from guidekit.guidance.contrast.schedules import Schedules, Weight
from guidekit.guidance.contrast.settings import check_range
from guidekit.registry import register


@register("guidance", "icg")
def ICG(  # noqa: N802 - a preset
    weight: Weight = 2.0,
    conditions: Sequence[Any] | None = None,
    weights: Sequence[float] | None = None,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Independent condition guidance: D_r + w (D_c - D_r), with a condition r drawn anew for every sample and step.

    Averaged over r it is w D_c + (1 - w) mean_r D_r, which is not the unconditional prediction, except at high noise.
    With few conditions the draws are noisy, and one in as many is c itself.

    Args:
        weight: w.
        conditions: to draw from, each what `Prior.condition` takes; None is all that the prior knows.
        weights: how likely each is, as in the training data; None is equal.
        schedule, rescale: see `CFG`.

    Raises:
        ValueError: as many weights as conditions are needed, none below 0.

    Source: Sadat et al. 2024, arXiv:2407.02687, section 4.
    """
    for value in weights or ():
        check_range("ICG", weights=value)
    if weights is not None and (conditions is None or len(conditions) != len(weights) or sum(weights) == 0):
        raise ValueError(f"ICG: {len(weights)} weights for {len(conditions or ())} conditions; one each, not all 0")
    return contrast("ICG", (Drawn(conditions, weights),), LINEAR, weight, schedule, rescale)
