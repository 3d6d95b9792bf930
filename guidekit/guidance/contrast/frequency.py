"""Frequency-decoupled guidance: coarse and fine parts of the direction with weights of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.guidance import GuidanceError
from guidekit.core.population import Time
from guidekit.core.run import Run
from guidekit.core.state import State, right_pad
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, Branch, Given
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.rules import Function, Rule
from guidekit.guidance.contrast.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class FrequencyCFG(Contrast):
    """CFG with a weight for every level of a Laplacian pyramid, the finest first; equal weights are CFG.

    For states (channels, side) or (channels, height, width): signals and images. The pyramid halves the sides, by means
    of blocks, and doubles them by repetition; its levels add up to the prediction exactly.

    Args:
        weight: w of the coarsest level.
        fine: weights of the finer levels, finest first.
        negative, schedule, rescale: see `CFG`; where the schedule gives 1, all weights are 1.

    Source: Sadat et al. 2025, arXiv:2506.19713, eq. 6, without the projection of its levels.
    """

    weight: float = 2.0
    fine: Sequence[float] = (4.0,)
    negative: State | None = None
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    tokens = False
    needs = ("conditional prior and condition=", "images or signals")

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

        def act(views: Sequence[Tensor], w: Time) -> Tensor:
            base, positive = views
            levels = pyramid(positive - base, len(self.fine))
            weights = [torch.as_tensor(weight).to(base) for weight in self.fine] + [w]
            return base + unfolded([right_pad(v, level) * level for v, level in zip(weights, levels, strict=True)])

        return Function(act, neutral=all(v == 1 for v in self.fine) or self.schedule is not None)


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
