"""Time grids: at which times a sampler stops on its way from noise (t = 1) to clean (t = 0).

A grid is a function (process, steps) -> times, falling from at most 1 to exactly 0. Samplers take one as `times`: an
object below, its name, a mapping {name, options}, a list of times, or a function of your own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guidekit.errors import UnknownNameError

Grid = Callable[[Any, int], Sequence[float]]
LOW, HIGH, MOST = 0.002, 80.0, 1e3
"""Levels s / a of grids on processes that have no least level, or whose largest one is above `MOST`."""


@dataclasses.dataclass(frozen=True)
class Even:
    """Evenly spaced times, 1 - i / steps."""

    def __call__(self, process: Any, steps: int) -> list[float]:
        """`steps` + 1 times."""
        return [1 - i / steps for i in range(steps)] + [0.0]


@dataclasses.dataclass(frozen=True)
class _Levels:
    """Grids that choose noise levels s / a.

    Args:
        low, high: least and largest level above zero; None is the process' own, or .002 and 80 where the process has no
            least level or starts above 1,000.
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Check the levels."""
        low, high = LOW if self.low is None else self.low, math.inf if self.high is None else self.high
        if not 0 < low < high or self.high == math.inf:
            raise ValueError(f"noise levels low={self.low}, high={self.high}; 0 < low < high is needed, both finite")

    def between(self, low: float, high: float, share: float) -> float:
        """The level at a share 0 .. 1 of the way from high to low."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement between(low, high, share)")

    def __call__(self, process: Any, steps: int) -> list[float]:
        """`steps` + 1 times, the last but one at the least level and the last at 0."""
        if not hasattr(process, "at_level"):
            raise ValueError(
                f"grid {type(self).__name__} spaces noise levels of real numbers, which a {type(process).__name__} "
                "process does not have: use times=uniform or a list of times"
            )
        schedule = process.schedule
        least, most = least_level(process), process.level(1.0)
        own = least if schedule.steps or not schedule.ends_clean else LOW
        low, high = self.low or own, self.high or (most if most <= MOST else HIGH)
        if not low < high or low < least * (1 - 1e-6) or high > most * (1 + 1e-9):
            raise ValueError(
                f"noise levels from {low:.4g} to {high:.4g}; this process has levels from {least:.4g} to {most:.4g}, "
                "and the first must be the smaller one"
            )
        shares = [i / max(1, steps - 1) for i in range(steps)]
        return [process.at_level(self.between(low, high, share)) for share in shares] + [0.0]


@dataclasses.dataclass(frozen=True)
class Karras(_Levels):
    """Levels evenly spaced in their rho-th root: short steps at little noise.

    Args:
        low, high: see the class above.
        rho: 7 for images; 1 is evenly spaced, the limit of large rho is `LogSNR`.

    Source: Karras et al. 2022, arXiv:2206.00364, eq. 5.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        """Check levels and rho."""
        super().__post_init__()
        if not 0 < self.rho < math.inf:
            raise ValueError(f"rho={self.rho}; a finite number above 0 is needed")

    def between(self, low: float, high: float, share: float) -> float:
        """See `_Levels`."""
        root = high ** (1 / self.rho) + share * (low ** (1 / self.rho) - high ** (1 / self.rho))
        return root**self.rho


@dataclasses.dataclass(frozen=True)
class Levels:
    """Karras' grid between chosen levels s / a, as far as a process has them.

    What a guidance asks for where nobody chose a grid: a process whose noise ends below `high`, or begins above `low`,
    has its own end there.

    Args:
        low, high: least and largest level above zero.
        rho: see `Karras`.
    """

    low: float
    high: float
    rho: float = 7.0

    def __call__(self, process: Any, steps: int) -> list[float]:
        """`steps` + 1 times."""
        low, high = max(self.low, least_level(process)), min(self.high, process.level(1.0))
        if high <= low:
            return process.grid(steps)
        return Karras(low, high, self.rho)(process, steps)


def least_level(process: Any) -> float:
    """The smallest noise level s / a above zero that a process of real numbers has."""
    return process.level(1 / process.schedule.steps if process.schedule.steps else 1e-9)


@dataclasses.dataclass(frozen=True)
class LogSNR(_Levels):
    """Levels evenly spaced in their logarithm, which is half of minus the log signal-to-noise ratio.

    Source: Lu et al. 2022, arXiv:2206.00927.
    """

    def between(self, low: float, high: float, share: float) -> float:
        """See `_Levels`."""
        return high * (low / high) ** share


@dataclasses.dataclass(frozen=True)
class Spaced:
    """Indices of a process in discrete time (`DiscreteVP`), chosen as other libraries do.

    leading: offset + multiples of N // steps (the noisiest index is missed); trailing: N - 1 and every N / steps below;
    linspace: from N - 1 to 0, rounded.

    Args:
        kind: "leading", "trailing" or "linspace".
        offset: added to the indices of kind "leading".

    Source: Lin et al. 2023, arXiv:2305.08891, table 2.
    """

    kind: str = "trailing"
    offset: int = 0

    def __post_init__(self) -> None:
        """Check the kind and the offset."""
        if self.kind not in SPACINGS or self.offset < 0:
            raise ValueError(f"kind={self.kind!r}, offset={self.offset}; accepted: {', '.join(SPACINGS)}, 0 or more")

    def indices(self, count: int, steps: int) -> list[int]:
        """`steps` indices of 0 .. count - 1, falling."""
        if self.kind == "leading":
            return [i * (count // steps) + self.offset for i in reversed(range(steps))]
        if self.kind == "trailing":
            return [round(count - i * count / steps) - 1 for i in range(steps)]
        return [round((count - 1) * (1 - i / max(1, steps - 1))) for i in range(steps)]

    def __call__(self, process: Any, steps: int) -> list[float]:
        """`steps` + 1 times."""
        count = getattr(getattr(process, "schedule", None), "steps", None)
        if count is None:
            raise ValueError(f"times={self.kind} spaces the indices of discrete time: use DiscreteVP, or times=uniform")
        if steps > count:
            raise ValueError(f"steps={steps}; this process has {count} indices")
        chosen = self.indices(count, steps)
        if chosen[0] >= count:
            raise ValueError(f"offset={self.offset} leads to index {chosen[0]}; the last one is {count - 1}")
        return [process.schedule.time(i) for i in chosen] + [0.0]


SPACINGS = ("leading", "trailing", "linspace")
GRIDS: dict[str, Callable[..., Grid]] = {
    "uniform": Even,
    "karras": Karras,
    "log_snr": LogSNR,
    "leading": lambda offset=0: Spaced("leading", offset),
    "trailing": lambda: Spaced("trailing"),
    "linspace": lambda: Spaced("linspace"),
}
"""Grids by name."""


def check_times(times: Sequence[float]) -> list[float]:
    """The times as numbers.

    Raises:
        ValueError: times that do not fall strictly from at most 1 to exactly 0.
    """
    times = [float(t) for t in times]
    if len(times) < 2 or not times[0] <= 1 or times[-1] != 0:
        raise ValueError(f"times {_short(times)}; a list that starts at 1 or below and ends at 0 is needed")
    for before, after in zip(times, times[1:], strict=False):
        if not after < before:
            raise ValueError(
                f"times {before:.6g}, {after:.6g} do not fall: every time must be less than the one before"
            )
    return times


def _short(times: Sequence[float]) -> str:
    shown = [f"{t:.4g}" for t in times]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "...", *shown[-2:]]) or "(none)"


class Listed(tuple[float, ...]):
    """A list of times, which is shown in a few words."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"({_short(self)})" if len(self) <= 6 else f"<{len(self)} times: {_short(self)}>"


def grid_from(times: str | Mapping[str, Any] | Sequence[float] | Grid | None) -> Grid | tuple[float, ...] | None:
    """What a sampler keeps as its `times`: None (the process' own grid), a function, or a tuple of times.

    Raises:
        UnknownNameError: no grid of that name.
        ValueError: options it does not take, or times that do not fall from 1 to 0.
    """
    if times is None or callable(times):
        return times
    if isinstance(times, str):
        times = {"name": times}
    if isinstance(times, Mapping):
        options = {key: value for key, value in times.items() if key != "name"}
        name = str(times.get("name"))
        if name not in GRIDS:
            raise UnknownNameError("time grid", name, GRIDS)
        try:
            return GRIDS[name](**options)
        except TypeError as error:
            raise ValueError(f"time grid {name}: {error}") from error
    return Listed(check_times(times))


def times_of(grid: Grid | tuple[float, ...] | None, process: Any, steps: int) -> list[float]:
    """The times of a grid on a process; a list of times has its own number of steps."""
    if grid is None:
        return process.grid(steps)
    return check_times(grid(process, steps) if callable(grid) else grid)


__all__ = ["GRIDS", "Even", "Grid", "Karras", "Levels", "LogSNR", "Spaced", "check_times", "grid_from", "times_of"]
