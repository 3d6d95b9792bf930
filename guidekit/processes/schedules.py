"""Noise schedules: signal a(t) and noise s(t) for t in [0, 1], 1 = noise.

Each schedule also names the variable in which its probability flow is smooth: `flow(a, s)` returns (tau, da/dtau,
ds/dtau), so that dx/dtau = (da/dtau) E[x_0|x] + (ds/dtau) E[eps|x] needs no derivative in t. All functions take a float
or a tensor of times.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Number = Any
"""A number, or a tensor of numbers; answers are of the kind of what was given."""


def _ops(t: Number):
    return torch if isinstance(t, Tensor) else math


class _VariancePreserving:
    """a^2 + s^2 = 1: the flow turns the state by the angle atan2(s, a)."""

    ends_clean = True
    steps: int | None = None  # of a table in discrete time

    def flow(self, a: Number, s: Number) -> tuple[Number, Number, Number]:
        """The angle atan2(s, a) and the derivatives of a and s in it."""
        return _ops(a).atan2(s, a), -s, a


@dataclasses.dataclass(frozen=True)
class LinearVP(_VariancePreserving):
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
        ops = _ops(t)
        log_a = -0.25 * t * t * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min
        return ops.exp(log_a), ops.sqrt(-ops.expm1(2 * log_a))


@dataclasses.dataclass(frozen=True)
class CosineVP(_VariancePreserving):
    """Variance preserving with a = cos(pi t / 2), s = sin(pi t / 2).

    Source: Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17 with offset 0.
    """

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        ops = _ops(t)
        angle = t * (math.pi / 2)
        return ops.cos(angle), ops.sin(angle)


@dataclasses.dataclass(frozen=True)
class RateVP(_VariancePreserving):
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
        rate = getattr(self.rate, "__name__", repr(self.rate)) if callable(self.rate) else _table(self.rate)
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


@dataclasses.dataclass(frozen=True)
class TableVP(_VariancePreserving):
    """Variance preserving in discrete time: after i = 0 .. N - 1 comes noise with a_i^2 = prod_(j <= i) (1 - beta_j).

    Index i is the time t = (i + 1) / N, and t = 0 is clean; between two indices the angle atan2(s, a) is a straight
    line, so that the process can be asked at any time.

    Args:
        betas: N noise variances in (0, 1), and 1 at most for the last.
        zero_terminal_snr: a is shifted and stretched so that nothing is left of the signal at the last index, and the
            first index stays as it is.

    Raises:
        ValueError: no betas, or one outside (0, 1).

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 4; Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """

    betas: Sequence[float]
    zero_terminal_snr: bool = False

    def __post_init__(self) -> None:
        """Keep the table as numbers."""
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        wrong = [beta for beta in self.betas[:-1] if not 0 < beta < 1]
        wrong += [beta for beta in self.betas[-1:] if not 0 < beta <= 1]
        if wrong or not self.betas:
            raise ValueError(
                f"betas have {wrong[0] if wrong else 'no entry'}; noise variances between 0 and 1 are needed"
            )

    def __repr__(self) -> str:
        return f"TableVP({_table(self.betas)}, zero_terminal_snr={self.zero_terminal_snr})"

    @property
    def steps(self) -> int:  # type: ignore[override]
        """N, number of indices."""
        return len(self.betas)

    def time(self, index: int) -> float:
        """The time of an index 0 .. N - 1."""
        return (index + 1) / self.steps

    def index(self, t: Number) -> Number:
        """The index of a time, between two whole numbers where the time is; what networks in discrete time are told."""
        return t * self.steps - 1

    @cached_property
    def _angles(self) -> Tensor:
        """Angles at t = 0, 1 / N, .. 1, (N + 1,) float64."""
        a = (1 - torch.tensor(self.betas, dtype=torch.float64)).cumprod(0).sqrt()
        if self.zero_terminal_snr:
            a = (a - a[-1]) * (a[0] / (a[0] - a[-1]))
        return torch.cat([torch.zeros(1, dtype=torch.float64), torch.atan2((1 - a * a).sqrt(), a)])

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        at = torch.as_tensor(t, dtype=torch.float64, device="cpu") * self.steps
        left = (at + 1e-9).floor().long().clamp(0, self.steps - 1)
        angle = torch.lerp(self._angles[left], self._angles[left + 1], (at - left).clamp(0, 1))
        a, s = angle.cos(), angle.sin()
        if self.zero_terminal_snr:
            a = torch.where(at >= self.steps, 0.0, a)
        return (a.to(t), s.to(t)) if isinstance(t, Tensor) else (float(a), float(s))


def _table(values: Sequence[float]) -> str:
    """A table of numbers in a few words."""
    if len(values) <= 4:
        return f"[{', '.join(f'{value:g}' for value in values)}]"
    return f"<{len(values)} numbers from {values[0]:g} to {values[-1]:g}>"


def legacy_betas(name: str = "linear", count: int = 1000, start: float = 1e-4, end: float = 0.02) -> list[float]:
    """Noise variances of a discrete-time process, by the names under which checkpoints of others know them.

    Args:
        name: "linear" (evenly spaced), "scaled_linear" (evenly spaced square roots) or "squaredcos_cap_v2" (a^2 falls
            as cos^2((t + .008) / 1.008 pi / 2), betas at most .999; start and end are not used).
        count: N.
        start, end: first and last variance.

    Raises:
        ValueError: no such name, or fewer than two.

    Source: Ho et al. 2020, arXiv:2006.11239, section 4; Rombach et al. 2022, arXiv:2112.10752 (scaled_linear); Nichol &
    Dhariwal 2021, arXiv:2102.09672, eq. 17.
    """
    if name not in BETAS or count < 2:
        raise ValueError(f"betas {name!r}, {count} of them; accepted: {', '.join(BETAS)}, 2 or more")
    share = [i / (count - 1) for i in range(count)]
    if name == "linear":
        return [start + v * (end - start) for v in share]
    if name == "scaled_linear":
        return [(start**0.5 + v * (end**0.5 - start**0.5)) ** 2 for v in share]
    kept = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
    return [min(1 - kept[i + 1] / kept[i], 0.999) for i in range(count)]


BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
"""Names of tables of noise variances."""


@dataclasses.dataclass(frozen=True)
class SubVP:
    """The signal of a variance-preserving schedule with less noise: s = 1 - a^2.

    Args:
        inner: the variance-preserving schedule.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 12 and 29.
    """

    inner: LinearVP | CosineVP | RateVP | TableVP = LinearVP()
    ends_clean = True

    @property
    def steps(self) -> int | None:
        """Number of indices of a table in discrete time."""
        return self.inner.steps

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        a, s = self.inner(t)
        return a, s * s

    def flow(self, a: Number, s: Number) -> tuple[Number, Number, Number]:
        """The angle atan2(sqrt(s), a) and the derivatives of a and s in it."""
        root = s**0.5
        return _ops(a).atan2(root, a), -root, 2 * root * a


@dataclasses.dataclass(frozen=True)
class GeometricVE:
    """Variance exploding: a = 1, s = low (high / low)^t for t > 0; t = 0 is clean.

    Args:
        low, high: least and largest noise std, in the unit of the data, 0 < low < high.

    Raises:
        ValueError: levels in the wrong order, or none.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 31.
    """

    low: float = 0.01
    high: float = 50.0
    ends_clean = False
    steps = None

    def __post_init__(self) -> None:
        """Check the levels."""
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"noise levels low={self.low}, high={self.high}; 0 < low < high is needed, both finite")

    def level(self, t: Number) -> Number:
        """Noise std for t > 0."""
        return self.low * (self.high / self.low) ** t

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        if isinstance(t, Tensor):
            return torch.ones_like(t), torch.where(t > 0, self.level(t), 0.0)
        return 1.0, self.level(t) if t > 0 else 0.0

    def flow(self, a: Number, s: Number) -> tuple[Number, Number, Number]:
        """The noise std itself and the derivatives of a and s in it."""
        return s, 0.0, 1.0


@dataclasses.dataclass(frozen=True)
class KarrasVE(GeometricVE):
    """Variance exploding with noise levels spaced evenly in their rho-th root; a uniform grid in t is Karras' grid.

    Args:
        low, high: see `GeometricVE`.
        rho: above 0.

    Source: Karras et al. 2022, arXiv:2206.00364, eq. 5.
    """

    low: float = 0.002
    high: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        """Check levels and rho."""
        super().__post_init__()
        if not 0 < self.rho < math.inf:
            raise ValueError(f"rho must be above 0 and finite, got {self.rho}")

    def level(self, t: Number) -> Number:
        """Noise std for t > 0."""
        low, gap = self._roots
        return (low + t * gap) ** self.rho

    @cached_property
    def _roots(self) -> tuple[float, float]:
        """The rho-th root of the least level, and how far that of the largest is from it."""
        low = self.low ** (1 / self.rho)
        return low, self.high ** (1 / self.rho) - low


@dataclasses.dataclass(frozen=True)
class LinearFlow:
    """Rectified flow: a = 1 - t, s = t.

    Source: Liu et al. 2022, arXiv:2209.03003; Lipman et al. 2022, arXiv:2210.02747.
    """

    ends_clean = True
    steps = None

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        return 1 - t, t

    def flow(self, a: Number, s: Number) -> tuple[Number, Number, Number]:
        """Time itself and the derivatives of a and s in it."""
        return s, -1.0, 1.0


Schedule = LinearVP | CosineVP | RateVP | TableVP | SubVP | GeometricVE | LinearFlow


def inverse(function: Callable[[float], float], value: float, low: float = 0.0, high: float = 1.0) -> float:
    """The t in [low, high] at which a rising function reaches a value, by bisection down to rounding."""
    while low < (middle := (low + high) / 2) < high and high - low > 1e-18:
        low, high = (middle, high) if function(middle) < value else (low, middle)
    return high
