"""Noise schedules: signal a(t) and noise s(t) for t in [0, 1], 1 = noise.

Each schedule also names the variable in which its probability flow is smooth: `flow(a, s)` returns (tau, da/dtau,
ds/dtau), so that dx/dtau = (da/dtau) E[x_0|x] + (ds/dtau) E[eps|x] needs no derivative in t. All functions take a float
or a tensor of times.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property

import torch
from torch import Tensor

from guidekit.processes.numbers import Number, functions_of
from guidekit.processes.tables import TableVP
from guidekit.processes.variance_preserving import CosineVP, LinearVP, RateVP


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
        return functions_of(a).atan2(root, a), -root, 2 * root * a


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
