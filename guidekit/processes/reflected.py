"""Diffusion in a box: noise is reflected at the walls. Simplices are boxes after stick-breaking."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.core.kernel import GaussianKernel
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.process import Process
from guidekit.core.random import Draw
from guidekit.core.requirements import Fact
from guidekit.core.state import column
from guidekit.core.support import EVERYWHERE, Support
from guidekit.processes.gaussian import GaussianProcess, ancestral_kernel, check_time
from guidekit.processes.numbers import Number
from guidekit.processes.schedules import GeometricVE, KarrasVE

TERMS = 20
"""Terms of the cosine series, which is used where s > `TURN`; below it, images at both sides of the box."""
TURN = math.sqrt(0.02)


def fold(x: Tensor) -> Tensor:
    """x reflected into [0, 1] as often as it takes, elementwise."""
    rest = x.remainder(2.0)
    return torch.minimum(rest, 2 - rest)


def reflected_score(x: Tensor, x0: Tensor, s: Number) -> Tensor:
    """d / dx log p(x | x0) of reflected noise of std s on [0, 1], elementwise (B, *S); s a number or (B,).

    p is the law of `fold(x0 + s eps)`: the heat kernel of the interval with insulated ends, as a cosine series for
    large s and as a sum over mirror images of x0 for small s.

    Source: Lou & Ermon 2023, arXiv:2304.04740 (both forms).
    """
    s = column(torch.as_tensor(s, dtype=x.dtype, device=x.device), x)
    large = s.clamp_min(TURN)[..., None]
    k = torch.arange(1, TERMS + 1, dtype=x.dtype, device=x.device)
    decay = (-0.5 * (k * math.pi * large).square()).exp() * (k * math.pi * x0[..., None]).cos()
    slope = -2 * math.pi * (k * decay * (k * math.pi * x[..., None]).sin()).sum(-1)
    series = slope / (1 + 2 * (decay * (k * math.pi * x[..., None]).cos()).sum(-1)).clamp_min(1e-12)
    shift = 2 * torch.arange(-2, 3, dtype=x.dtype, device=x.device)
    centers = torch.cat([shift + x0[..., None], shift - x0[..., None]], -1)
    small = s.clamp_max(TURN)[..., None].clamp_min(1e-9)
    gap = x[..., None] - centers
    images = -(torch.softmax(-0.5 * (gap / small).square(), -1) * gap / small.square()).sum(-1)
    return torch.where(s > TURN, series, images)


@dataclasses.dataclass(frozen=True)
class FoldedKernel(GaussianKernel):
    """A Gaussian step reflected into the box.

    Args:
        mean: (B, *S) before the reflection.
        low, high: walls.
    """

    low: float = 0.0
    high: float = 1.0

    def sample(self, draw: Draw) -> Tensor:
        """One next state a row, (B, *S), inside the box."""
        width = self.high - self.low
        return self.low + width * fold((super().sample(draw) - self.low) / width)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of next states x (B, *S) inside the box, (B,) nats: images up to 16 widths away are summed."""
        width = self.high - self.low
        shift = 2 * width * torch.arange(-8, 9, dtype=torch.float64, device=x.device)
        at = x.double()[..., None]
        images = torch.cat([at + shift, 2 * self.low - at + shift], -1)
        std = torch.as_tensor(self.std, dtype=torch.float64, device=x.device)
        std = column(std, images)
        z = (images - self.mean.double()[..., None]) / std
        each = torch.logsumexp(-0.5 * z.square() - std.log(), -1) - 0.5 * math.log(2 * math.pi)
        return each.flatten(1).sum(1)


@dataclasses.dataclass(frozen=True)
class ReflectedProcess(Process):
    """Variance-exploding noise reflected at the walls of a box: x_t = fold(x_0 + s eps), uniform in the limit.

    Its prediction is a `GaussianPrediction` with a = 1 and mean x + s^2 score: `score` is exact, the mean is that of
    Tweedie's formula and may lie outside the box (it is not E[x_0 | x]). Samplers: `Ancestral` and `DDIM`, whose steps
    are reflected. Guidance that mixes predictions (CFG) mixes scores, and no sample leaves the box.

    Args:
        schedule: noise levels s, in widths of the box; 5 widths are uniform noise to 1e-50.
        low, high: walls, in the unit of the data.

    Raises:
        ValueError: low >= high, or a largest level below one width, from which noise is not uniform.

    Source: Lou & Ermon 2023, arXiv:2304.04740.
    """

    schedule: GeometricVE | KarrasVE = GeometricVE(0.01, 5.0)
    low: float = 0.0
    high: float = 1.0
    provides = frozenset({Fact.REAL})

    def __post_init__(self) -> None:
        """Check the box and the largest level."""
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"walls low={self.low}, high={self.high}; low < high is needed, both finite")
        if not isinstance(self.schedule, GeometricVE) or self.schedule.high < 1:
            raise ValueError(
                f"schedule={self.schedule}; GeometricVE or KarrasVE with a largest level of at least 1 width is needed"
            )

    @property
    def width(self) -> float:
        """high - low."""
        return self.high - self.low

    def coefficients(self, t: Number) -> tuple[Number, Number]:
        """(1, s) at t, s in the unit of the data."""
        check_time(t)
        a, s = self.schedule(t)
        return a, s * self.width

    def grid(self, steps: int) -> list[float]:
        """See `GaussianProcess.grid`."""
        return GaussianProcess(self.schedule).grid(steps)

    def level(self, t: float) -> float:
        """s in widths of the box."""
        return self.schedule(t)[1]

    def at_level(self, level: float) -> float:
        """The time at which s has a value, in widths of the box; see `GaussianProcess.at_level`."""
        return GaussianProcess(self.schedule).at_level(level)

    def sample_limit(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """States of shape (B, *S), uniform in the box, float64."""
        return self.low + self.width * draw.uniform(*shape)

    def restart(self, state: Tensor, t: float) -> Tensor:
        """States to start from at t < 1: uniform ones all the same."""
        return state

    def noising(self, state: Tensor, t: float, u: float, support: Support = EVERYWHERE) -> FoldedKernel:
        """See `Process.noising`: more noise, reflected."""
        s, r = self.coefficients(t)[1], self.coefficients(u)[1]
        return FoldedKernel(state, math.sqrt(max(r * r - s * s, 0.0)), support, self.low, self.high)

    def noise(self, x0: Tensor, t: Number, eps: Tensor) -> Tensor:
        """Noisy states in the box; x0 and eps (B, *S), t number or (B,)."""
        s = column(self.coefficients(t)[1], x0)
        return self.low + self.width * fold((x0 + s * eps - self.low) / self.width)

    def target(self, x: Tensor, x0: Tensor, t: Number) -> Tensor:
        """Score of x given x0, (B, *S), what a score network learns by regression (weight its square by s^2)."""
        at, clean = ((v - self.low) / self.width for v in (x, x0))
        return reflected_score(at, clean, self.schedule(t)[1]) / self.width

    def prediction(self, mean: Tensor, x: Tensor, t: Number) -> GaussianPrediction:
        """The prediction with Tweedie mean x + s^2 score (B, *S) at state x and time t."""
        a, s = self.coefficients(t)
        return GaussianPrediction(mean, x, a, s)

    def from_score(self, score: Tensor, x: Tensor, t: Number) -> GaussianPrediction:
        """The prediction with a score (B, *S) at state x and time t."""
        s = column(self.coefficients(t)[1], x)
        return self.prediction(x + s * s * score, x, t)

    def reverse_kernel(self, prediction: GaussianPrediction, t: Number, u: Number, eta: float = 1.0) -> FoldedKernel:
        """A step of the reversed SDE, x + (s_t^2 - s_u^2) score + noise for eta = 1, reflected into the box.

        See `GaussianProcess.reverse_kernel` for eta; eta = 0 follows the probability flow.
        """
        plain = ancestral_kernel(prediction, self.coefficients(u), eta)
        return FoldedKernel(plain.mean, plain.std, plain.support, self.low, self.high)


def to_simplex(sticks: Tensor) -> Tensor:
    """Points (..., K) of the simplex from K - 1 shares (..., K - 1) in [0, 1], each of what the ones before have left.

    With it a `ReflectedProcess` diffuses probabilities; uniform shares are not uniform points of the simplex.
    """
    left = torch.cat([torch.ones_like(sticks[..., :1]), (1 - sticks).cumprod(-1)], -1)
    return torch.cat([sticks * left[..., :-1], left[..., -1:]], -1)


def from_simplex(points: Tensor) -> Tensor:
    """Shares (..., K - 1) from points (..., K) of the simplex, the inverse of `to_simplex`; 0 where nothing is left.

    Raises:
        ValueError: entries below zero or sums other than one.
    """
    if (points < 0).any() or ((points.sum(-1) - 1).abs() > 1e-4).any():
        raise ValueError("points of a simplex have entries of at least 0 that sum to 1; these do not")
    left = 1 - points[..., :-1].cumsum(-1) + points[..., :-1]
    return torch.where(left > 1e-12, points[..., :-1] / left.clamp_min(1e-12), 0.0).clamp(0, 1)


__all__ = ["FoldedKernel", "ReflectedProcess", "fold", "from_simplex", "reflected_score", "to_simplex"]
