"""Numeric settings within bounds, where they stand in a configuration."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from guidekit.errors import UnknownNameError

Point = tuple[float, ...]
"""A value of every option, in the order of the space."""


@dataclasses.dataclass(frozen=True)
class Option:
    """One setting.

    Args:
        name: its place in the configuration, such as guidance.scale or guidance.of.0.scale.
        low, high: bounds, above 0.
        start: where a search begins.
        whole: only whole numbers.

    Raises:
        ValueError: bounds that are none.
    """

    name: str
    low: float
    high: float
    start: float
    whole: bool = False

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"search.options: {self.name}=[{self.low:g}, {self.high:g}]; 0 < low < high is needed")
        if self.whole and math.ceil(self.low) > math.floor(self.high):
            raise ValueError(f"search.options: {self.name}=[{self.low:g}, {self.high:g}] holds no whole number")

    @property
    def factor(self) -> float:
        """What a move multiplies by: 10 where the bounds span a thousandfold or more, else 2."""
        return 10.0 if self.high / self.low >= 1000 else 2.0

    def within(self, value: float) -> float:
        """The nearest value that is allowed, with 6 digits."""
        value = min(max(value, self.low), self.high)
        if self.whole:
            return float(min(max(round(value), math.ceil(self.low)), math.floor(self.high)))
        return float(f"{value:.6g}")


@dataclasses.dataclass(frozen=True)
class Space:
    """What is searched.

    Args:
        options: at least one.
    """

    options: tuple[Option, ...]

    @property
    def start(self) -> Point:
        """Where a search begins."""
        return tuple(option.within(option.start) for option in self.options)

    def ends(self) -> list[Point]:
        """The start with each option at either bound: what a guidance refuses is refused there."""
        start = self.start
        return [
            (*start[:place], option.within(bound), *start[place + 1 :])
            for place, option in enumerate(self.options)
            for bound in (option.low, option.high)
        ]

    def moves(self, point: Point) -> list[Point]:
        """Points that differ in one option, by its factor up or down, as far as the bounds allow."""
        found = []
        for place, option in enumerate(self.options):
            for value in (point[place] * option.factor, point[place] / option.factor):
                moved = (*point[:place], option.within(value), *point[place + 1 :])
                if moved != point:
                    found.append(moved)
        return found

    def placed(self, config: Mapping[str, Any], point: Point) -> dict[str, Any]:
        """A configuration with the values of a point."""
        new = copy.deepcopy(dict(config))
        for option, value in zip(self.options, point, strict=True):
            holder, key = _holder(new, option.name)
            holder[key] = int(value) if option.whole else value
        return new

    def settings(self, point: Point) -> dict[str, float]:
        """Values by name."""
        values = zip(self.options, point, strict=True)
        return {option.name: int(value) if option.whole else value for option, value in values}


GROUPS = ("guidance", "sampler")
"""Whose settings can be searched."""


def space_of(config: Mapping[str, Any], given: Mapping[str, Any], whole: Mapping[str, bool] | None = None) -> Space:
    """The space of some options of a configuration, or of all numbers above 0 of its guidance, a tenth to ten times.

    Args:
        config: settings of `guidekit sample`.
        given: name -> [low, high]; "scale" stands for "guidance.scale". Empty is all.
        whole: names of options that take whole numbers only, where a value of null does not tell.

    Raises:
        UnknownNameError: no such setting.
        ValueError: one that is no number, bounds that are none, or nothing to be searched.
    """
    known = [name for group in GROUPS for name in numbers(config.get(group) or {}, f"{group}.", nulls=True)]
    found = []
    for name, bounds in given.items():
        place = name if name.partition(".")[0] in GROUPS else f"guidance.{name}"
        if place not in known:
            raise UnknownNameError("numeric option to search", place, known)
        if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2 or not _numeric(bounds):
            raise ValueError(f"search.options: {name}={bounds!r}; two numbers, [low, high], are needed")
        holder, key = _holder(config, place)
        value, low, high = holder[key], float(bounds[0]), float(bounds[1])
        is_whole = (whole or {}).get(place, isinstance(value, int))
        start = float(value) if value is not None and value > 0 else math.sqrt(abs(low * high))
        found.append(Option(place, low, high, start, is_whole))
    if not given:
        for place in numbers(config.get("guidance") or {}, "guidance."):
            holder, key = _holder(config, place)
            value, is_whole = float(holder[key]), isinstance(holder[key], int)
            low = max(1.0, value // 4) if is_whole else value / 10
            found.append(Option(place, low, 4 * value if is_whole else 10 * value, value, is_whole))
    if not found:
        of = (config.get("guidance") or {}).get("name")
        raise ValueError(f"guidance={of} has no numeric setting above 0 to search: name some in search.options")
    return Space(tuple(found))


def numbers(config: Any, prefix: str, nulls: bool = False) -> list[str]:
    """Places of the numbers above 0 in nested settings; with nulls also of zeros and of what has no value yet."""
    items = config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else ()
    found: list[str] = []
    for key, value in items:
        if isinstance(value, Mapping | list):
            found += numbers(value, f"{prefix}{key}.", nulls)
        elif (nulls and value is None and key != "name") or (_numeric([value]) and (nulls or value > 0)):
            found.append(f"{prefix}{key}")
    return found


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)


def _holder(config: Any, place: str) -> tuple[Any, Any]:
    """The mapping or list in which a setting stands, and its key there."""
    *path, last = place.split(".")
    for key in path:
        config = config[int(key)] if isinstance(config, list) else config[key]
    return config, int(last) if isinstance(config, list) else last
