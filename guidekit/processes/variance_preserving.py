"""Variance-preserving schedules, a^2 + s^2 = 1, in continuous time; see `schedules`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from guidekit.processes.numbers import Number, functions_of, in_words


class VariancePreserving:
    """a^2 + s^2 = 1: the flow turns the state by the angle atan2(s, a)."""

    ends_clean = True
    steps: int | None = None  # of a table in discrete time

    def flow(self, a: Number, s: Number) -> tuple[Number, Number, Number]:
        """The angle atan2(s, a) and the derivatives of a and s in it."""
        return functions_of(a).atan2(s, a), -s, a


@dataclasses.dataclass(frozen=True)
class LinearVP(VariancePreserving):
    """Variance preserving with a noise rate linear in t: a = exp(-t^2 (max - min) / 4 - t min / 2), s^2 = 1 - a^2.

    Args:
        beta_min, beta_max: noise rates at t = 0 and 1, at least 0, and not both 0.

    Raises:
        ValueError: a rate below 0 or not finite, or none above 0.

    Source: Ho et al. 2020, arXiv:2006.11239; continuous form Song et al. 2021, arXiv:2011.13456, eq. 33.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        """Check the rates."""
        if not (0 <= self.beta_min < math.inf and 0 <= self.beta_max < math.inf and self.beta_min + self.beta_max > 0):
            raise ValueError(
                f"beta_min={self.beta_min}, beta_max={self.beta_max}; noise rates are at least 0 and finite, and one "
                "is above 0"
            )

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        ops = functions_of(t)
        log_a = -0.25 * t * t * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min
        return ops.exp(log_a), ops.sqrt(-ops.expm1(2 * log_a))


@dataclasses.dataclass(frozen=True)
class CosineVP(VariancePreserving):
    """Variance preserving with a = cos(pi t / 2), s = sin(pi t / 2).

    Source: Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17 with offset 0.
    """

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        ops = functions_of(t)
        angle = t * (math.pi / 2)
        return ops.cos(angle), ops.sin(angle)


@dataclasses.dataclass(frozen=True)
class RateVP(VariancePreserving):
    """Variance preserving with any noise rate: a = exp(-1/2 int_0^t rate), s^2 = 1 - a^2.

    The integral is found once at 1,024 times (more for longer tables) by five-point Gauss rules; between them it is the
    cubic that has the right slopes.

    Args:
        rate: function of a float64 tensor of times in [0, 1], or its values at evenly spaced times from 0 to 1, joined
            by straight lines; non-negative, per unit of time.

    Raises:
        ValueError: a negative or infinite rate, or fewer than two values.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 11 and 29.
    """

    rate: Callable[[Tensor], Tensor] | Sequence[float]

    def __post_init__(self) -> None:
        """Keep a table as numbers, and check the rates."""
        if not callable(self.rate):
            object.__setattr__(self, "rate", tuple(float(v) for v in self.rate))
            if len(self.rate) < 2:
                raise ValueError(f"a table of {len(self.rate)} noise rates; two or more are needed, at 0 .. 1")
        seen = self._rate(torch.linspace(0, 1, self._cells + 1, dtype=torch.float64))
        if not seen.isfinite().all() or (seen < 0).any() or seen.sum() == 0:
            raise ValueError(
                f"noise rates from {float(seen.min()):.4g} to {float(seen.max()):.4g}; they must be finite, at least 0 "
                "and not all 0"
            )

    def __repr__(self) -> str:
        rate = getattr(self.rate, "__name__", repr(self.rate)) if callable(self.rate) else in_words(self.rate)
        return f"RateVP({rate})"

    @property
    def _cells(self) -> int:
        """Cells of the kept integral; edges of a table are edges of cells."""
        pieces = 1024 if callable(self.rate) else len(self.rate) - 1
        return pieces * max(1, -(-1024 // pieces))

    def _rate(self, t: Tensor) -> Tensor:
        if callable(self.rate):
            return torch.as_tensor(self.rate(t), dtype=torch.float64).expand(t.shape)
        values = torch.tensor(self.rate, dtype=torch.float64)
        place = t * (len(values) - 1)
        left = place.floor().long().clamp(0, len(values) - 2)
        return torch.lerp(values[left], values[left + 1], place - left)

    @cached_property
    def _knots(self) -> tuple[Tensor, Tensor]:
        """Integral of the rate at the edges of the cells, and the rate there times the width of a cell."""
        edges = torch.linspace(0, 1, self._cells + 1, dtype=torch.float64)
        x = torch.tensor(_GAUSS_NODES, dtype=torch.float64)
        w = torch.tensor(_GAUSS_WEIGHTS, dtype=torch.float64)
        middle = (edges[:-1] + edges[1:]) / 2
        cells = (self._rate(middle[:, None] + 0.5 / self._cells * x) * w).sum(-1) * (0.5 / self._cells)
        return torch.cat([torch.zeros(1, dtype=torch.float64), cells.cumsum(0)]), self._rate(edges) / self._cells

    @cached_property
    def _numbers(self) -> tuple[list[float], list[float]]:
        return self._knots[0].tolist(), self._knots[1].tolist()

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        if isinstance(t, Tensor):
            place = t.double() * self._cells
            left = place.detach().floor().long().clamp(0, self._cells - 1)
            sums, slopes = (knot.to(t.device) for knot in self._knots)
            log_a = -0.5 * _hermite(sums[left], sums[left + 1], slopes[left], slopes[left + 1], place - left)
            return log_a.exp().to(t), (-torch.expm1(2 * log_a)).clamp_min(0).sqrt().to(t)
        integral, rate = self._numbers
        cell = min(max(int(t * self._cells), 0), self._cells - 1)
        log_a = -0.5 * _hermite(integral[cell], integral[cell + 1], rate[cell], rate[cell + 1], t * self._cells - cell)
        return math.exp(log_a), math.sqrt(max(-math.expm1(2 * log_a), 0.0))


def _hermite(left: Number, right: Number, slope: Number, end_slope: Number, v: Number) -> Number:
    """The cubic on [0, 1] with the given values and slopes at both ends."""
    rise = right - left
    return left + v * (slope + v * (3 * rise - 2 * slope - end_slope + v * (slope + end_slope - 2 * rise)))


_GAUSS_NODES = (-0.9061798459386640, -0.5384693101056831, 0.0, 0.5384693101056831, 0.9061798459386640)
_GAUSS_WEIGHTS = (0.2369268850561891, 0.4786286704993665, 0.5688888888888889, 0.4786286704993665, 0.2369268850561891)
