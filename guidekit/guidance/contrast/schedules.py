"""When a guidance acts, and how strongly: weights as functions of the noise level.

A schedule turns (weight, time, run) into the weight at that time; 1 means "the positive branch alone", and the others
are then not evaluated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from guidekit.core.guidance import GuidanceError
from guidekit.processes import DiscreteProcess, GaussianProcess

if TYPE_CHECKING:
    from guidekit.core.run import Run


class Schedule(Protocol):
    """What a schedule is."""

    def __call__(self, weight: float, t: Time, run: Run) -> Time:
        """The weight at t, a number or (B,) like t."""


def noise_level(process: GaussianProcess | DiscreteProcess, t: Time) -> Time:
    """s(t) / a(t), the noise std a variance-exploding process would have; for tokens the share of them that is lost."""
    if isinstance(process, DiscreteProcess):
        return 1 - process.survival(t)
    a, s = process.coefficients(t)
    return s / a.clamp_min(1e-12) if isinstance(a, Tensor) else s / max(a, 1e-12)


def step_of(run: Run, t: Time) -> Time:
    """Index of the step that starts at t: how many times of the grid lie before it."""
    if isinstance(t, Tensor):
        return (torch.tensor(run.grid, dtype=t.dtype, device=t.device) > t[..., None]).sum(-1)
    return sum(time > t for time in run.grid)


def _where(inside: Tensor | bool, yes: Time, no: Time, t: Time) -> Time:
    if isinstance(inside, Tensor):
        yes, no = (torch.as_tensor(v, dtype=t.dtype, device=t.device).expand(t.shape) for v in (yes, no))
        return torch.where(inside, yes, no)
    return yes if inside else no


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
        """Refuse an unknown scale and a reversed interval."""
        if self.by not in ("sigma", "log_snr"):
            raise ValueError(f"by={self.by!r}; accepted: sigma, log_snr")
        if self.low > self.high:
            raise ValueError(f"interval from {self.low} to {self.high}; the least level comes first")

    def __call__(self, weight: float, t: Time, run: Run) -> Time:
        """See `Schedule`."""
        level = noise_level(run.prior.process, t)
        low, high = self.low, self.high
        if self.by == "log_snr":  # the ratio falls where the level rises
            low, high = math.exp(-self.high / 2), math.exp(-self.low / 2)
            inside = (level >= low) & (level < high)
        else:
            inside = (level > low) & (level <= high)
        return _where(inside, weight, 1.0, t)


@dataclasses.dataclass(frozen=True)
class Steps:
    """The weight from step `first` on for `count` steps (None: to the end), 1 in the others."""

    first: int = 0
    count: int | None = None

    def __call__(self, weight: float, t: Time, run: Run) -> Time:
        """See `Schedule`."""
        step = step_of(run, t)
        last = math.inf if self.count is None else self.first + self.count
        return _where((step >= self.first) & (step < last), weight, 1.0, t)


@dataclasses.dataclass(frozen=True)
class Ramp:
    """From weight `start` at t = 1 to the weight at t = 0, as (1 - t)^power of the way."""

    start: float = 1.0
    power: float = 1.0

    def __call__(self, weight: float, t: Time, run: Run) -> Time:
        """See `Schedule`."""
        return self.start + (weight - self.start) * (1 - t) ** self.power


@dataclasses.dataclass(frozen=True)
class Table:
    """Weights at evenly spaced times from 1 to 0, linear in between; they stand in place of the plug's own.

    Raises:
        ValueError: fewer than two.
    """

    weights: Sequence[float]

    def __post_init__(self) -> None:
        """Refuse what cannot be interpolated."""
        if len(self.weights) < 2:
            raise ValueError(f"a table needs at least 2 weights, and this one has {len(self.weights)}")

    def __call__(self, weight: float, t: Time, run: Run) -> Time:
        """See `Schedule`."""
        last = len(self.weights) - 1
        if not isinstance(t, Tensor):
            k = min(int((1 - t) * last), last - 1)
            return self.weights[k] + ((1 - t) * last - k) * (self.weights[k + 1] - self.weights[k])
        weights = torch.tensor(self.weights, dtype=t.dtype, device=t.device)
        k = ((1 - t) * last).long().clamp(0, last - 1)
        return weights[k] + ((1 - t) * last - k) * (weights[k + 1] - weights[k])


def check_schedule(name: str, schedule: object) -> None:
    """Raise `GuidanceError` for what is neither None, a function nor two numbers."""
    if schedule is None or callable(schedule):
        return
    numbers = isinstance(schedule, Sequence) and all(isinstance(v, int | float) for v in schedule)
    if not numbers or isinstance(schedule, str) or len(schedule) != 2:
        raise GuidanceError(f"{name}: schedule={schedule!r}; two noise levels [low, high] are needed, or a schedule")
    Interval(*schedule)


def weight_at(weight: object, schedule: object, t: Time, run: Run) -> Time:
    """The weight of a plug at t: a number or (B,).

    Args:
        weight: number, or function of t.
        schedule: None, a `Schedule`, or two noise levels (low, high) for an `Interval`.
        t: number or (B,); `run.schedule_time` goes before it, so that all calls of one step have one weight.
        run: the execution.
    """
    if run.schedule_time is not None:
        t = run.schedule_time
    w = weight(t) if callable(weight) else weight
    if schedule is None:
        return w
    return (Interval(*schedule) if isinstance(schedule, Sequence) else schedule)(w, t, run)
