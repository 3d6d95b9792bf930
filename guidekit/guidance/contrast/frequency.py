"""Frequency-decoupled guidance: coarse and fine parts of the direction with weights of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from guidekit.core.guidance import GuidanceError
from guidekit.core.prior import Prior
from guidekit.core.requirements import Fact
from guidekit.core.support import Support
from guidekit.guidance.contrast import Contrast, Number, Schedules, Weight, check_finite, contrast, rules
from guidekit.guidance.contrast import base as away_from
from guidekit.guidance.contrast.rule import NEVER, Formula, Rule
from guidekit.registry import register


@register("guidance", "frequency_cfg")
def FrequencyCFG(  # noqa: N802 - a preset
    weight: Weight = 2.0,
    fine: Sequence[float] = (4.0,),
    parallel: float | Sequence[float] = 1.0,
    negative: Any = None,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """CFG with a weight for every level of a Laplacian pyramid, the finest first; equal weights are CFG.

    For states (channels, side) or (channels, height, width): signals and images. The pyramid halves the sides, by means
    of blocks, and doubles them by repetition; its levels add up to the prediction exactly.

    Args:
        weight: w of the coarsest level.
        fine: weights of the finer levels, finest first.
        parallel: factor of the part of a level's direction that is parallel to the conditional level, as eta of `APG`;
            1 keeps all. A number for all levels, or one for each, finest first and the coarsest last.
        negative, schedule, rescale: see `CFG`; where the schedule gives 1, all weights are 1.

    Raises:
        ValueError: another number of factors than levels, or what is no number.

    Source: Sadat et al. 2025, arXiv:2506.19713, eq. 6, and its projection of every level.
    """
    levels = len(fine) + 1
    factors = [parallel] * levels if isinstance(parallel, int | float) else list(parallel)
    if len(factors) != levels:
        raise ValueError(f"parallel={factors}: {levels} levels need as many factors, or one number")
    for value in (*fine, *factors):
        check_finite("FrequencyCFG", **{"fine and parallel": value})
    formula = by_level(tuple(fine), tuple(factors))
    neutral = 1.0 if schedule is not None or all(value == 1 for value in fine) else NEVER

    def halves(name: str, prior: Prior) -> None:
        shape, times = prior.event_shape, 2 ** len(fine)
        if Fact.PARTS in prior.provides or len(shape) not in (2, 3) or any(side % times for side in shape[1:]):
            raise GuidanceError(
                f"{name} needs images or signals with sides that {times} divides, and states of this prior "
                f"({prior.name}) are {tuple(shape)}"
            )

    rule = Rule(lambda answers, w: answers.mapped(formula, w), neutral, requires=frozenset({Fact.FLOW}), check=halves)
    return contrast("FrequencyCFG", away_from(negative), rule, weight, schedule, rescale)


def by_level(fine: Sequence[float], factors: Sequence[float]) -> Formula:
    """The formula with weights of the finer levels and factors of the parallel part of all; views (B, C, sides)."""

    def formula(support: Support, w: Number, base: Tensor, own: Tensor) -> Tensor:
        levels = []
        views = (pyramid(view, len(fine)) for view in (base, own))
        for low, high, weight, factor in zip(*views, (*fine, w), factors, strict=True):
            if factor == 1:
                levels.append(rules.linear(low, high, weight))
            else:
                levels.append(rules.projected(support, high - low, high, weight, factor))
        return unfolded(levels)

    return formula


def halved(x: Tensor) -> Tensor:
    """Means of blocks of two along every axis after the channels."""
    return F.avg_pool1d(x, 2) if x.ndim == 3 else F.avg_pool2d(x, 2)


def doubled(x: Tensor) -> Tensor:
    """Every number twice along every axis after the channels."""
    return F.interpolate(x, scale_factor=2)


def pyramid(x: Tensor, levels: int) -> list[Tensor]:
    """`levels` differences to the next coarser image, finest first, then the coarsest image; x (B, C, sides)."""
    parts = []
    for _ in range(levels):
        coarse = halved(x)
        parts.append(x - doubled(coarse))
        x = coarse
    return [*parts, x]


def unfolded(levels: Sequence[Tensor]) -> Tensor:
    """The image of a pyramid."""
    x = levels[-1]
    for each in reversed(levels[:-1]):
        x = each + doubled(x)
    return x
