"""Windows: rewards that are 0 inside an interval and minus the distance outside."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, TypeVar

from torch import Tensor

Number = TypeVar("Number", float, Tensor)


def refuse_empty(low: float, high: float, bounds: tuple[float, float] = (-math.inf, math.inf), of: str = "it") -> None:
    """Raise ValueError where low is above high, one of them is no number, or a finite one is no value of the measure.

    Args:
        low, high: the window.
        bounds: the least and the largest value that the measure can have.
        of: what it is called.
    """
    if not low <= high:
        raise ValueError(f"window from {low} to {high} is empty; low must not exceed high")
    for name, value in (("low", low), ("high", high)):
        if math.isfinite(value) and not bounds[0] <= value <= bounds[1]:
            share = bounds == (0, 1) and 1 < value <= 100
            meant = f"; {value:g} % is {value / 100:g}" if share else ""
            raise ValueError(f"{name}={value:g}: {of} is from {bounds[0]:g} to {bounds[1]:g}{meant}")


def outside(value: Number, low: float, high: float) -> Number:
    """Minus the distance of a number (or of each number of a tensor) to [low, high]; 0 inside."""
    if isinstance(value, Tensor):
        return 0.0 - ((low - value).clamp_min(0) + (value - high).clamp_min(0))
    return -max(low - value, value - high, 0.0) or 0.0  # `or` turns -0.0 into 0.0


class Windowed:
    """Mark of dataclasses whose `low` and `high` bound a measure: minus its distance to them is the reward."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Window(Windowed):
    """Base of windows on one number of an object; subclasses say which, and its `bounds`.

    Raises:
        ValueError: low is above high, one of them is not a number, or is finite and out of bounds.
    """

    low: float
    high: float
    floor: ClassVar[float | None] = None
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        refuse_empty(self.low, self.high, self.bounds, getattr(self, "name", "it"))

    def measure(self, thing: Any) -> float:
        """The number that should lie in the window."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement measure")

    def __call__(self, thing: Any) -> float:
        """Minus the distance of the measure to the window, in its unit."""
        return float(outside(self.measure(thing), self.low, self.high))
