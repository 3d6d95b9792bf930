"""Frequency-decoupled guidance: coarse and fine parts of the direction with weights of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from guidekit.core.guidance import GuidanceError
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, Branch, Given
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.linear import linear
from guidekit.guidance.contrast.rules import Function, Rule, projected
from guidekit.guidance.contrast.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class FrequencyCFG(Contrast):
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
        ValueError: another number of factors than levels.

    Source: Sadat et al. 2025, arXiv:2506.19713, eq. 6, and its projection of every level.
    """

    weight: float = 2.0
    fine: Sequence[float] = (4.0,)
    parallel: float | Sequence[float] = 1.0
    negative: State | None = None
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    tokens = False
    needs = ("conditional prior and condition=", "images or signals")

    def __post_init__(self) -> None:
        """Refuse another number of factors than levels."""
        levels = len(self.fine) + 1
        if not isinstance(self.parallel, int | float) and len(self.parallel) != levels:
            raise ValueError(f"parallel={list(self.parallel)}: {levels} levels need as many factors, or one number")

    def check(self, run: Run) -> None:
        """Sides must halve."""
        super().check(run)
        shape, times = run.prior.event_shape, 2 ** len(self.fine)
        if len(shape) not in (2, 3) or any(side % times for side in shape[1:]):
            raise GuidanceError(
                f"FrequencyCFG needs images or signals with sides that {times} divides, and states of this prior "
                f"({run.prior.name}) are {tuple(shape)}"
            )

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null or negative condition, and the condition."""
        return (UNCONDITIONAL if self.negative is None else Branch(Given(self.negative)), CONDITIONAL)

    def rule(self, run: Run) -> Rule:
        """See `pyramid`."""

        shared = isinstance(self.parallel, int | float)
        factors = [self.parallel] * (len(self.fine) + 1) if shared else self.parallel

        def act(views: Sequence[Tensor], w: Time) -> Tensor:
            base, positive = (pyramid(view, len(self.fine)) for view in views)
            weights = [*self.fine, w]
            return unfolded([level(*parts) for parts in zip(base, positive, weights, factors, strict=True)])

        return Function(act, neutral=all(v == 1 for v in self.fine) or self.schedule is not None)


def level(base: Tensor, positive: Tensor, weight: Time, parallel: float) -> Tensor:
    """One level of the guided pyramid from those of both predictions, see `rules.projected`."""
    if parallel == 1:
        return linear(base, positive, weight)
    return projected(positive - base, positive, weight, parallel)


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
    for level in reversed(levels[:-1]):
        x = level + doubled(x)
    return x
