"""Windows: rewards that are 0 inside an interval and minus the distance outside."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, overload

from torch import Tensor


def refuse_empty(low: float, high: float) -> None:
    """Raise ValueError where low is above high or one of them is no number."""
    if not low <= high:
        raise ValueError(f"window from {low} to {high} is empty; low must not exceed high")


@overload
def outside(value: Tensor, low: float, high: float) -> Tensor: ...
@overload
def outside(value: float, low: float, high: float) -> float: ...
def outside(value: float | Tensor, low: float, high: float) -> float | Tensor:
    """Minus the distance of a number (or of each number of a tensor) to [low, high]; 0 inside."""
    if isinstance(value, Tensor):
        return 0.0 - ((low - value).clamp_min(0) + (value - high).clamp_min(0))
    return -max(low - value, value - high, 0.0) or 0.0  # `or` turns -0.0 into 0.0


@dataclasses.dataclass(frozen=True)
class Window:
    """Base of windows on one number of an object; subclasses say which.

    Raises:
        ValueError: low is above high, or one of them is not a number.
    """

    low: float
    high: float
    floor: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        refuse_empty(self.low, self.high)

    def measure(self, thing: Any) -> float:
        """The number that should lie in the window."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement measure")

    def __call__(self, thing: Any) -> float:
        """Minus the distance of the measure to the window, in its unit."""
        return float(outside(self.measure(thing), self.low, self.high))
