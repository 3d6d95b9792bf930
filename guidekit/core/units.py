"""The unit in which a science measures what a state holds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class Units:
    """value = scale * state + shift: what instruments measure, beside the range that networks like.

    Args:
        scale: not 0; of a state's unit.
        shift: of the state 0.
        name: of the unit, for tables and files ("m", "1/s", "Hounsfield"); empty for numbers as they are.
        low, high: ends of the scale, such as 0 and 1 of pixels, for signal-to-noise ratios; None where it has none.

    Raises:
        ValueError: a scale of 0, or numbers that are not finite.
    """

    scale: float = 1.0
    shift: float = 0.0
    name: str = ""
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be undone."""
        if not 0 < abs(self.scale) < math.inf or not math.isfinite(self.shift):
            raise ValueError(f"units of scale {self.scale} and shift {self.shift}: finite, and a scale that is not 0")

    @property
    def plain(self) -> bool:
        """Whether values are the states themselves."""
        return self.scale == 1 and self.shift == 0

    @property
    def range(self) -> float | None:
        """high - low; None where the scale has no ends."""
        return None if self.low is None or self.high is None else self.high - self.low

    def values(self, states: Any) -> Any:
        """Values of states, of any shape."""
        return states if self.plain else self.scale * states + self.shift

    def states(self, values: Any) -> Any:
        """States of values."""
        return values if self.plain else (values - self.shift) / self.scale


PLAIN = Units()
