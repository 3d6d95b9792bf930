"""Figures of a run's samples for its closing table: how many are valid and distinct, and how these score."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

Thing = TypeVar("Thing")


def mean(values: Sequence[float]) -> float:
    """The mean, also of numbers near the largest float."""
    try:
        return statistics.fmean(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)


STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "reward": mean,
    "reward sd": statistics.stdev,
    "median reward": statistics.median,
    "best": max,
}
USUAL = ("reward", "reward sd", "best")


def distinct(
    things: Iterable[Thing], values: Iterable[float], key: Callable[[Thing], Hashable | None]
) -> list[tuple[float, Thing]]:
    """(value, thing) of distinct things, the first of those with one key; a thing whose key is None is left out."""
    found: dict[Hashable, tuple[float, Thing]] = {}
    for thing, value in zip(things, values, strict=True):
        mark = key(thing)
        if mark is not None:
            found.setdefault(mark, (value, thing))
    return list(found.values())


def ranked(
    things: Iterable[Thing], values: Iterable[float], key: Callable[[Thing], Hashable | None]
) -> list[tuple[float, Thing]]:
    """As `distinct`, the greatest value first, NaN last."""
    return sorted(distinct(things, values, key), key=lambda pair: math.inf if math.isnan(pair[0]) else -pair[0])


def summarised(
    rows: Sequence[Mapping[str, Any]], values: Sequence[float], key: str, rewards: Sequence[str] = USUAL
) -> tuple[dict[str, float], list[Mapping[str, Any]]]:
    """Figures of samples, and the rows of the distinct valid ones, which the figures of rewards are of.

    Args:
        rows: of `Domain.table`, at least one, with `valid`.
        values: rewards of the samples; those that are not finite are left out.
        key: column that is equal in two rows of the same object.
        rewards: keys of `STATISTICS`.

    Returns:
        valid, a share of all; unique, distinct ones as a share of the valid; the statistics of rewards. NaN where there
        is nothing to count, and for the deviation of one number.
    """
    found = distinct(rows, values, lambda row: row[key] if row["valid"] else None)
    scored = [value for value, _ in found if math.isfinite(value)]
    valid = sum(row["valid"] for row in rows)
    figures = {"valid": valid / len(rows), "unique": len(found) / valid if valid else math.nan}
    for name in rewards:
        enough = len(scored) > (name == "reward sd")
        try:
            figures[name] = STATISTICS[name](scored) if enough else math.nan
        except OverflowError:  # a deviation can be larger than any float
            figures[name] = math.inf
    return figures, [row for _, row in found]


def means(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, float]:
    """Mean of each column over rows; NaN without any."""
    return {name: statistics.fmean(row[name] for row in rows) if rows else math.nan for name in names}
