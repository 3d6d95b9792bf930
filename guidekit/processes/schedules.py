"""Noise schedules: signal a(t) and noise s(t) for t in [0, 1], 1 = noise.

Each schedule also names the variable in which its probability flow is smooth: `flow(a, s)` returns (tau, da/dtau,
ds/dtau), so that dx/dtau = (da/dtau) E[x_0|x] + (ds/dtau) E[eps|x] needs no derivative in t. All functions take a float
or a tensor of times.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

Number = float | Tensor


def _ops(t: Number):
    return torch if isinstance(t, Tensor) else math


class _VariancePreserving:
    """a^2 + s^2 = 1: the flow turns the state by the angle atan2(s, a)."""

    ends_clean = True

    def flow(self, a: Number, s: Number) -> tuple[Number, Number, Number]:
        """The angle atan2(s, a) and the derivatives of a and s in it."""
        return _ops(a).atan2(s, a), -s, a


@dataclasses.dataclass(frozen=True)
class LinearVP(_VariancePreserving):
    """Variance preserving with a noise rate linear in t: a = exp(-t^2 (max - min) / 4 - t min / 2), s^2 = 1 - a^2.

    Source: Ho et al. 2020, arXiv:2006.11239; continuous form Song et al. 2021, arXiv:2011.13456, eq. 33.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

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
class GeometricVE:
    """Variance exploding: a = 1, s = low (high / low)^t for t > 0; t = 0 is clean.

    Args:
        low, high: least and largest noise std, in the unit of the data.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 31.
    """

    low: float = 0.01
    high: float = 50.0
    ends_clean = False

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

    Source: Karras et al. 2022, arXiv:2206.00364, eq. 5.
    """

    low: float = 0.002
    high: float = 80.0
    rho: float = 7.0

    def level(self, t: Number) -> Number:
        """Noise std for t > 0."""
        low, high = self.low ** (1 / self.rho), self.high ** (1 / self.rho)
        return (low + t * (high - low)) ** self.rho


@dataclasses.dataclass(frozen=True)
class LinearFlow:
    """Rectified flow: a = 1 - t, s = t.

    Source: Liu et al. 2022, arXiv:2209.03003; Lipman et al. 2022, arXiv:2210.02747.
    """

    ends_clean = True

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        return 1 - t, t

    def flow(self, a: Number, s: Number) -> tuple[Number, Number, Number]:
        """Time itself and the derivatives of a and s in it."""
        return s, -1.0, 1.0
