"""Mean and interval of a figure over seeds, and whether it is within the bounds of a check."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from guidekit.evidence.claim import Check

CONFIDENCE = 0.95
LEAST_SEEDS = 3
"""Runs of fewer seeds decide nothing."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure over seeds.

    Args:
        values: one a seed.
        mean: of them.
        interval: 95 % interval of the mean by Student's t; None of a single value.
    """

    values: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval, as if the values of different seeds were independent and normal."""
    n, mean = len(values), math.fsum(values) / len(values)
    if n < 2:
        return Estimate(tuple(values), mean, None)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = student_quantile((1 + CONFIDENCE) / 2, n - 1) * spread / math.sqrt(n)
    return Estimate(tuple(values), mean, (mean - half, mean + half))


def holds(check: Check, figure: Estimate) -> bool:
    """Whether the interval, or the mean, of a figure is within the bounds; an interval of one value is unbounded."""
    if check.by == "mean":
        low = high = figure.mean
    elif figure.interval is None:
        return False
    else:
        low, high = figure.interval
    return (check.least is None or low >= check.least) and (check.most is None or high <= check.most)


def verdict(checks: Sequence[Check], figures: Mapping[str, Estimate]) -> str:
    """What becomes of a claim: "met", "not met", or "not run" with too few seeds."""
    if any(check.figure not in figures for check in checks):
        return "not run"
    if min(len(figures[check.figure].values) for check in checks) < LEAST_SEEDS:
        return "not run"
    return "met" if all(holds(check, figures[check.figure]) for check in checks) else "not met"


def student_quantile(p: float, degrees: int) -> float:
    """The t with P(T <= t) = p > 1/2 for a whole number of degrees of freedom, by bisection of the closed form."""
    low, high = 0.0, 1.0
    while student_cdf(high, degrees) < p:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, degrees) < p else (low, middle)
    return (low + high) / 2


def student_cdf(t: float, degrees: int) -> float:
    """P(T <= t), t >= 0, a finite sum for whole degrees of freedom.

    Source: Abramowitz & Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + odd, degrees - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    within = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + within) / 2
