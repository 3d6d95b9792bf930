"""Whether samples are where real objects are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

TAIL = 0.01
"""Share of real objects that is left out at either end of their range."""
MUCH, FEW = 0.2, 8
"""Share of samples outside from which on it is told, and number of samples below which nothing is."""


def limits(real: Sequence[float]) -> tuple[float, float]:
    """Between which 98 % of real numbers lie; NaN without any."""
    finite = [value for value in real if math.isfinite(value)]
    if not finite:
        return math.nan, math.nan
    low, high = np.quantile(finite, [TAIL, 1 - TAIL])
    return float(low), float(high)


def share_outside(values: Sequence[float], low: float, high: float) -> float:
    """Share of numbers outside of limits; NaN for none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(not low <= value <= high for value in finite) / len(finite) if finite else math.nan


def leaving(samples: Mapping[str, Sequence[float]], real: Mapping[str, Sequence[float]], kind: str) -> str:
    """A sentence on what leaves the range of real objects; empty where nothing does, or there are few samples.

    Args:
        samples, real: numbers by what they are.
        kind: of objects, in the plural.
    """
    told = []
    for name, values in samples.items():
        low, high = limits(real[name])
        share = share_outside(values, low, high)
        if len(values) >= FEW and share > MUCH:
            told.append(f"{name} of {share:.0%} ({low:.3g} to {high:.3g})")
    return f"{kind} leave the range of 98 % of real ones: {', '.join(told)}" if told else ""
