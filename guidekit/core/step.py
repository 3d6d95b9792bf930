"""Steps as values: where on the time grid, and which visit of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

Key = tuple[Any, ...]
"""Which visit of which step: (visit,) for the steps of the plan, longer for those derived from them."""


@dataclass(frozen=True)
class Moment:
    """A place on the time grid. Schedules of weights look at moments, never at how often they were visited.

    Args:
        t: time in [0, 1], 1 is noise.
        index: of the step that starts here, 0 for the first step of the sampler's grid.
    """

    t: float
    index: int


@dataclass(frozen=True)
class Step:
    """From one moment to another, and which visit of it this is: every draw in it is a function of `key`."""

    start: Moment
    end: Moment
    key: Key

    @property
    def t(self) -> float:
        """Time at which the step starts."""
        return self.start.t

    @property
    def u(self) -> float:
        """Time at which the step ends."""
        return self.end.t

    def again(self, visit: int) -> Step:
        """The same step with fresh noise."""
        return replace(self, key=(*self.key, visit))

    def between(self, t: float, u: float) -> Step:
        """A step inside this one, under the same schedules; the ends of this one stay what they are."""
        ends = {self.t: self.start, self.u: self.end}
        start, end = (ends.get(time, Moment(time, self.start.index)) for time in (t, u))
        return Step(start, end, (*self.key, t, u))


def back(steps: Sequence[Step]) -> Step:
    """The one step from the end of a stretch of steps to its start, for noising."""
    return Step(steps[-1].end, steps[0].start, (*steps[-1].key, "back", len(steps)))
