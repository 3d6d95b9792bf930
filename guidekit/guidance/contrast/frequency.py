"""Frequency-decoupled guidance: coarse and fine parts of the direction with weights of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from guidekit.core.guidance import GuidanceError
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.requirements import Fact
from guidekit.core.support import Support
from guidekit.guidance.contrast import rules
from guidekit.guidance.contrast.branches import base as base_of
from guidekit.guidance.contrast.engine import Contrast, contrast
from guidekit.guidance.contrast.rule import Answers, Rule
from guidekit.guidance.contrast.schedules import Number, Schedules, Weight
from guidekit.guidance.contrast.settings import check_finite
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
    neutral = all(value == 1 for value in fine) or schedule is not None
    rule = Pyramid(tuple(fine), tuple(factors), neutral)
    return contrast("FrequencyCFG", base_of(negative), rule, weight, schedule, rescale)


@dataclasses.dataclass(frozen=True)
class Pyramid(Rule):
    """A weight for every level of both predictions, see `FrequencyCFG`.

    Args:
        fine: weights of the finer levels.
        factors: of the parallel part, one a level.
        neutral: whether w = 1 is own.
    """

    fine: tuple[float, ...]
    factors: tuple[float, ...]
    neutral: bool = True
    requires = frozenset({Fact.FLOW})

    def combine(self, answers: Answers, weight: Number) -> Prediction:
        """See `Rule.combine`."""
        return answers.mapped(self.formula, weight)

    def formula(self, support: Support, w: Number, base: Tensor, own: Tensor) -> Tensor:
        """base and own (B, C, sides)."""
        pairs = zip(*(pyramid(view, len(self.fine)) for view in (base, own)), strict=True)
        weights = (*self.fine, w)
        levels = [
            level(support, *pair, number, factor)
            for pair, number, factor in zip(pairs, weights, self.factors, strict=True)
        ]
        return unfolded(levels)

    def check(self, name: str, prior: Prior) -> None:
        """See `Rule.check`; sides must halve."""
        shape, times = prior.event_shape, 2 ** len(self.fine)
        if Fact.PARTS in prior.provides or len(shape) not in (2, 3) or any(side % times for side in shape[1:]):
            raise GuidanceError(
                f"{name} needs images or signals with sides that {times} divides, and states of this prior "
                f"({prior.name}) are {tuple(shape)}"
            )


def level(support: Support, base: Tensor, own: Tensor, weight: Number, parallel: float) -> Tensor:
    """One level of the guided pyramid from those of both predictions, see `rules.projected`."""
    if parallel == 1:
        return rules.linear(base, own, weight)
    return rules.projected(support, own - base, own, weight, parallel)


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


__all__ = ["FrequencyCFG", "Pyramid", "pyramid", "unfolded"]
