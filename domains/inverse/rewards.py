"""Rewards of fields in their own unit; all black boxes of single fields, but a network of your own."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np


@dataclasses.dataclass(frozen=True)
class Mean:
    """Minus the distance of a field's mean from a target, in the unit of the field.

    Args:
        target: the mean that is wanted.
    """

    target: float = 0.0
    name: ClassVar[str] = "mean"
    floor: ClassVar[float | None] = None

    def __call__(self, field: np.ndarray) -> float:
        """Of one field."""
        return -abs(float(field.mean()) - self.target)


@dataclasses.dataclass(frozen=True)
class Share:
    """The share of a field above a threshold: of land, of frost-free sea; from 0 to 1.

    Args:
        threshold: in the unit of the field.
    """

    threshold: float = 0.0
    name: ClassVar[str] = "share"
    floor: ClassVar[float] = 0.0
    temperature: ClassVar[float] = 0.1

    def __call__(self, field: np.ndarray) -> float:
        """Of one field."""
        return float((field > self.threshold).mean())


REWARDS: dict[str, type] = {reward.name: reward for reward in (Mean, Share)}
