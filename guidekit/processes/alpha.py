"""Alpha schedules of discrete processes: alpha(t) is the probability that a token still has its clean value."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.processes.numbers import Number, functions_of


@dataclasses.dataclass(frozen=True)
class LogLinear:
    """alpha(t) = 1 - t. Source: Sahoo et al. 2024, arXiv:2406.07524."""

    def __call__(self, t: Number) -> Number:
        """a(t)."""
        return 1 - t

    def slope(self, t: Number) -> Number:
        """-da/dt."""
        return torch.ones_like(t) if isinstance(t, Tensor) else 1.0

    def inverse(self, a: Number) -> Number:
        """The time at which alpha is a."""
        return 1 - a


@dataclasses.dataclass(frozen=True)
class CosineAlpha:
    """alpha(t) = cos(pi t / 2)."""

    def __call__(self, t: Number) -> Number:
        """a(t)."""
        return functions_of(t).cos(t * (math.pi / 2))

    def slope(self, t: Number) -> Number:
        """-da/dt."""
        return functions_of(t).sin(t * (math.pi / 2)) * (math.pi / 2)

    def inverse(self, a: Number) -> Number:
        """The time at which alpha is a."""
        return functions_of(a).acos(a) * (2 / math.pi)


@dataclasses.dataclass(frozen=True)
class Geometric:
    """alpha(t) = exp(-low^(1-t) high^t) for t > 0; t = 0 is clean.

    Args:
        low, high: least and largest total noise; exp(-high) of the tokens survive to t = 1.

    Source: Lou et al. 2023, arXiv:2310.16834, appendix C.
    """

    low: float = 1e-4
    high: float = 20.0

    def __post_init__(self) -> None:
        """Refuse levels that are no noise."""
        if not 0 < self.low < self.high:
            raise ValueError(f"low={self.low}, high={self.high}: 0 < low < high is needed")

    def _total(self, t: Number) -> Number:
        return self.low * (self.high / self.low) ** t

    def __call__(self, t: Number) -> Number:
        """a(t)."""
        if isinstance(t, Tensor):
            return torch.where(t > 0, torch.exp(-torch.as_tensor(self._total(t))), 1.0)
        return math.exp(-self._total(t)) if t > 0 else 1.0

    def slope(self, t: Number) -> Number:
        """-da/dt, for t > 0."""
        return self._total(t) * math.log(self.high / self.low) * functions_of(t).exp(-self._total(t))

    def inverse(self, a: Number) -> Number:
        """The time at which alpha is a; 0 where a is above exp(-low)."""
        ops = functions_of(a)
        if not isinstance(a, Tensor) and a >= math.exp(-self.low):
            return 0.0
        t = ops.log(-ops.log(a) / self.low) / math.log(self.high / self.low)
        return t.clamp_min(0) if isinstance(t, Tensor) else max(t, 0.0)


ALPHAS = {"log_linear": LogLinear, "cosine": CosineAlpha, "geometric": Geometric}


def check_alpha(alpha) -> None:
    """Refuse a schedule that leaves [0, 1], rises with time, or does not start at 1.

    Raises:
        ValueError: with the time at which it happens.
    """
    times = [i / 16 for i in range(17)]
    values = [float(alpha(t)) for t in times]
    for t, a in zip(times, values, strict=True):
        if not 0 <= a <= 1 + 1e-9:
            raise ValueError(f"alpha schedule is {a:.4g} at t = {t}; it must stay in [0, 1]")
    if abs(values[0] - 1) > 1e-6:
        raise ValueError(f"alpha schedule is {values[0]:.4g} at t = 0; it must start at 1 (clean)")
    for (t, a), b in zip(zip(times, values, strict=True), values[1:], strict=False):
        if b > a + 1e-9:
            raise ValueError(f"alpha schedule rises after t = {t}; it must fall from 1 to the noise")
