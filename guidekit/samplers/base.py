"""What samplers share: time grids, and the facts that say what their kernels allow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from guidekit.core.owner import Memory
from guidekit.core.prior import Prior
from guidekit.core.requirements import Fact
from guidekit.core.sampler import Here, Sampler
from guidekit.processes.grids import Grid, grid_from, times_of

Times = Grid | str | Mapping[str, Any] | Sequence[float] | None
"""A time grid, see `guidekit.processes.grids`; None is the process' own."""

TOKEN_LAWS = frozenset({Fact.TILTS, Fact.JUMPS, Fact.TABLES})
"""What kernels of independent tokens offer to guidance."""


@dataclasses.dataclass(frozen=True, eq=False)
class TimedSampler(Sampler[Memory]):
    """A sampler that takes any time grid.

    Args:
        times: see `guidekit.processes.grids`: "uniform", "karras", "log_snr", for processes in discrete time "leading",
            "trailing", "linspace", a mapping {name, options}, a list of times from 1 to 0 (its length then overrides
            `steps`), or a function (process, steps) -> times. None is the process' own grid.

    Raises:
        ValueError: no such grid, or times that do not fall from 1 to 0.
    """

    times: Times = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check the grid."""
        object.__setattr__(self, "times", grid_from(self.times))

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """See `Sampler.grid`."""
        return self.plain(prior.process, steps)

    def plain(self, process: Any, steps: int) -> list[float]:
        """The times of its grid on a process."""
        return times_of(self.times, process, steps)  # type: ignore[arg-type]


def at_least(value: float, least: float, name: str) -> None:
    """Raise `ValueError` where a setting is no number of at least `least`."""
    if not (isinstance(value, int | float) and least <= value < float("inf")):
        raise ValueError(f"{name} must be a number of at least {least:g}, got {value!r}")


__all__ = ["TOKEN_LAWS", "Fact", "Here", "Sampler", "TimedSampler", "Times", "at_least"]
