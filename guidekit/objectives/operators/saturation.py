"""Instruments that saturate: clipped sounds, overexposed pictures, counts of levels."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.objectives.operators.base import Operator


@dataclasses.dataclass(frozen=True)
class Clip(Operator):
    """Numbers cut at +-threshold, as by a recorder that saturates; neither linear nor with an adjoint.

    Args:
        threshold: above 0, in the unit of the objects (of sounds, a share of full scale).

    Raises:
        ValueError: a threshold that is not above 0.
    """

    threshold: float

    def __post_init__(self) -> None:
        """Refuse a threshold that lets nothing pass."""
        if not 0 < self.threshold < math.inf:
            raise ValueError(f"threshold={self.threshold}; a number above 0 is expected")

    def forward(self, x: Tensor) -> Tensor:
        """x cut at the threshold."""
        return x.clamp(-self.threshold, self.threshold)

    def violation(self, x: Tensor, y: Tensor) -> Tensor:
        """Root-mean-square violation (B,): distance to y where y is not cut, what is missing beyond it where it is."""
        return _beyond(x, y, -self.threshold, self.threshold)


@dataclasses.dataclass(frozen=True)
class HighDynamicRange(Operator):
    """clip(center + gain (x - center), low, high): a picture with too much contrast, dark and bright parts lost.

    With pixels in [0, 1], gain 2 and center 0.5 it is what papers write as clip(2 x, -1, 1) for pixels in [-1, 1];
    center 0 is an exposure that is too long. The gradient is 0 where pixels are cut.

    Args:
        gain: above 0; below 1 nothing is cut.
        center: pixel value that stays.
        low, high: ends of the sensor, in the unit of the objects.

    Raises:
        ValueError: a gain that is not above 0, or ends in the wrong order.
    """

    gain: float = 2.0
    center: float = 0.5
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no sensor."""
        if not 0 < self.gain < math.inf or not self.low < self.high:
            raise ValueError(
                f"gain={self.gain}, low={self.low}, high={self.high}: gain > 0 and low < high are expected"
            )

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return (self.center + self.gain * (x - self.center)).clamp(self.low, self.high)

    def violation(self, x: Tensor, y: Tensor) -> Tensor:
        """As `Clip.violation`, of the pixels before they are cut."""
        return _beyond(self.center + self.gain * (x - self.center), y, self.low, self.high)


@dataclasses.dataclass(frozen=True)
class Quantized(Operator):
    """Numbers rounded to equal levels between two ends; its slope is 0 wherever it has one, so it offers no gradient.

    Args:
        levels: from 2.
        low, high: the first and the last level, in the unit of the objects.

    Raises:
        ValueError: fewer than 2 levels, or ends in the wrong order.
    """

    levels: int = 8
    low: float = 0.0
    high: float = 1.0
    differentiable = False

    def __post_init__(self) -> None:
        """Refuse what is no scale."""
        if not isinstance(self.levels, int) or self.levels < 2 or not self.low < self.high:
            raise ValueError(f"levels={self.levels}, low={self.low}, high={self.high}: 2 levels or more, low < high")

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        step = (self.high - self.low) / (self.levels - 1)
        return self.low + step * ((x.detach().clamp(self.low, self.high) - self.low) / step).round()


def _beyond(x: Tensor, y: Tensor, low: float, high: float) -> Tensor:
    top, bottom = y >= high, y <= low
    beyond = torch.where(top, (high - x).clamp_min(0), (x - low).clamp_min(0))
    return torch.where(top | bottom, beyond, x - y).square().flatten(1).mean(1).sqrt()
