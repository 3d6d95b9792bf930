"""When a contrast acts, and how strongly: its weight as a function of the time or of the step.

A schedule turns a weight into that of a question; where the weight is 1 the own answer stands, and the branches are not
asked for. Schedules look at where the population is on the time grid, never at how often it has been there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from guidekit.core.guidance import GuidanceError
from guidekit.core.question import Question
from guidekit.core.requirements import Fact
from guidekit.guidance.contrast.settings import check_finite
from guidekit.registry import register

Number = float | Tensor
"""A number, or one a row, (B,)."""

Weight = float | Callable[[Number], Number]
"""A number, or a function of t, which is a number or (B,)."""


class Schedule(Protocol):
    """What a schedule is."""

    def __call__(self, weight: Number, question: Question) -> Number:
        """The weight of a question, a number or (B,)."""


Schedules = Schedule | Sequence[float] | None
"""None is always, two numbers are an `Interval` of noise levels."""


def noise_level(process: Any, t: Number) -> Number:
    """s(t) / a(t), the noise std a variance-exploding process would have; for tokens the share of them that is lost.

    Of states of several parts it is that of the real-valued ones.
    """
    if Fact.PARTS in process.provides:
        process = next((part for part in process.parts.values() if Fact.REAL in part.provides), process.parts)
    if Fact.TOKENS in process.provides:
        return 1 - process.alpha(t)
    a, s = process.coefficients(t)
    return s / a.clamp_min(1e-12) if isinstance(a, Tensor) else s / max(a, 1e-12)


@register("schedule", "interval")
@dataclasses.dataclass(frozen=True)
class Interval:
    """The weight where low < noise level <= high, 1 elsewhere.

    Args:
        low, high: noise levels, see `noise_level`; or log signal-to-noise ratios log(a^2 / s^2).
        by: "sigma" for noise levels, "log_snr".

    Raises:
        ValueError: an unknown scale, or a least level above the largest.

    Source: Kynkaanniemi et al. 2024, arXiv:2404.07724.
    """

    low: float = 0.0
    high: float = math.inf
    by: str = "sigma"

    def __post_init__(self) -> None:
        """Check the scale and the order."""
        if self.by not in ("sigma", "log_snr"):
            raise ValueError(f"by={self.by!r}; accepted: sigma, log_snr")
        if not self.low <= self.high:
            raise ValueError(f"interval from {self.low} to {self.high}; the least level comes first")

    def __call__(self, weight: Number, question: Question) -> Number:
        """See `Schedule`."""
        level: Any = noise_level(question.process, question.time)
        if self.by == "log_snr":  # the ratio falls where the level rises
            inside = (level >= math.exp(-self.high / 2)) & (level < math.exp(-self.low / 2))
        else:
            inside = (level > self.low) & (level <= self.high)
        if isinstance(inside, Tensor):
            return torch.where(inside, torch.as_tensor(weight).to(level), 1.0)
        return weight if inside else 1.0


@register("schedule", "steps")
@dataclasses.dataclass(frozen=True)
class Steps:
    """The weight from step `first` of the time grid on for `count` steps (None: to the end), 1 in the others.

    Steps are counted on the grid: one that is gone through several times is guided every time alike.

    Raises:
        ValueError: counts below 0.
    """

    first: int = 0
    count: int | None = None

    def __post_init__(self) -> None:
        """Check the counts."""
        if self.first < 0 or (self.count is not None and self.count < 0):
            raise ValueError(f"first and count must be at least 0, got first={self.first}, count={self.count}")

    def __call__(self, weight: Number, question: Question) -> Number:
        """See `Schedule`."""
        last = math.inf if self.count is None else self.first + self.count
        return weight if self.first <= question.moment.index < last else 1.0


@register("schedule", "ramp")
@dataclasses.dataclass(frozen=True)
class Ramp:
    """From weight `start` at t = 1 to the weight at t = 0, as (1 - t)^power of the way."""

    start: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_finite("ramp", start=self.start)
        if not 0 < self.power < math.inf:
            raise ValueError(f"power must be above 0, got {self.power}")

    def __call__(self, weight: Number, question: Question) -> Number:
        """See `Schedule`."""
        return self.start + (weight - self.start) * (1 - question.time) ** self.power


@register("schedule", "table")
@dataclasses.dataclass(frozen=True)
class Table:
    """Weights at evenly spaced times from 1 to 0, linear in between; they stand in place of the guidance's own.

    Raises:
        ValueError: fewer than two, or what is no number.
    """

    weights: Sequence[float]

    def __post_init__(self) -> None:
        """Check that there is something to interpolate."""
        if len(self.weights) < 2:
            raise ValueError(f"a table needs at least 2 weights, got {len(self.weights)}")
        for weight in self.weights:
            check_finite("table", weights=weight)

    def __call__(self, weight: Number, question: Question) -> Number:
        """See `Schedule`."""
        t, last = question.time, len(self.weights) - 1
        if not isinstance(t, Tensor):
            k = min(int((1 - t) * last), last - 1)
            return self.weights[k] + ((1 - t) * last - k) * (self.weights[k + 1] - self.weights[k])
        weights = torch.tensor(self.weights, dtype=t.dtype, device=t.device)
        place = ((1 - t) * last).long().clamp(0, last - 1)
        return weights[place] + ((1 - t) * last - place) * (weights[place + 1] - weights[place])


@dataclasses.dataclass(frozen=True)
class Scheduled:
    """The weight of a question.

    Args:
        weight: a number, or a function of t.
        schedule: of it, or None.
        shift: schedules are written for weights that mean nothing at 1; this is what such a weight is above the own.
    """

    weight: Weight
    schedule: Schedule | None = None
    shift: float = 0.0

    def __call__(self, question: Question) -> Number:
        """The weight, a number or (B,)."""
        weight = self.weight(question.time) if callable(self.weight) else self.weight
        if self.schedule is not None:
            shifted = self.schedule(weight + self.shift if self.shift else weight, question)
            weight = shifted - self.shift if self.shift else shifted
        if not (bool(weight.isfinite().all()) if isinstance(weight, Tensor) else math.isfinite(weight)):
            raise ValueError(f"the weight at t={question.time} is {weight}; a finite number is needed")
        return weight


def scheduled(name: str, weight: Weight, schedule: Schedules = None, neutral: float = 1.0) -> float | Scheduled:
    """A weight as users write it: a number, or what turns a question into one.

    Args:
        name: for messages.
        weight: a number, or a function of t.
        schedule: see `Schedules`.
        neutral: the weight that means nothing, where it is 0 instead of 1.

    Raises:
        GuidanceError: a schedule that is neither None, a function nor two numbers.
        ValueError: a weight that is no finite number, or two levels of which the first is above the second.
    """
    if not callable(weight):
        check_finite(name, weight=weight)
    if schedule is None:
        return Scheduled(weight) if callable(weight) else weight
    if not callable(schedule):
        pair = isinstance(schedule, list | tuple) and all(isinstance(v, int | float) for v in schedule)
        if not pair or len(schedule) != 2:
            raise GuidanceError(
                f"{name}: schedule={schedule!r}; two noise levels [low, high] are needed, or a schedule"
            )
        schedule = Interval(schedule[0], schedule[1])
    return Scheduled(weight, schedule, 1.0 if neutral == 0 else 0.0)


def everywhere(weight: Number, value: float) -> bool:
    """Whether a weight, a number or (B,), is that number for all rows."""
    return bool((weight == value).all()) if isinstance(weight, Tensor) else weight == value
