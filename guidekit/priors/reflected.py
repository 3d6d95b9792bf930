"""A prior in a box whose every marginal is known: independent histograms under reflected noise."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.state import column
from guidekit.processes.reflected import ReflectedProcess


class BoxHistogram(Prior):
    """Independent coordinates with piecewise constant densities; the score of every noisy marginal is exact.

    On [0, 1] the density at noise std s is 1 + 2 sum_k c_k exp(-(k pi s)^2 / 2) cos(k pi x), with c_k the mean of
    cos(k pi x) over the histogram; the series is summed until its terms are below rounding.

    Args:
        weights: (D, M) positive masses of M bins of equal width in the box; normalised here.
        process: reflected noise.

    Raises:
        ValueError: weights of another shape, or one that is not positive.

    Source of the kernel: Lou & Ermon 2023, arXiv:2304.04740.
    """

    name = "histogram in a box"
    process: ReflectedProcess

    def __init__(self, weights: Tensor, process: ReflectedProcess | None = None) -> None:
        weights = torch.as_tensor(weights)
        if weights.ndim != 2 or not (weights > 0).all():
            raise ValueError(f"weights have shape {tuple(weights.shape)}; positive (dimensions, bins) are needed")
        self.weights = weights / weights.sum(1, keepdim=True)
        self.process = process or ReflectedProcess()
        self.event_shape = (len(weights),)

    def _series(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Density of each coordinate of x (B, D) and its slope, both on the unit box; s scalar or (B, 1)."""
        count = max(20, math.ceil(8.6 / (math.pi * float(s.min()))))
        k = math.pi * torch.arange(1, count + 1, dtype=torch.float64, device=x.device)
        edges = torch.linspace(0, 1, self.weights.shape[1] + 1, dtype=torch.float64, device=x.device)
        inside = ((k[:, None] * edges).sin().diff(dim=1) / k[:, None]) * self.weights.shape[1]  # mean of cos over a bin
        c = self.weights.double() @ inside.T  # (D, K)
        c = c * (-0.5 * (k * s[..., None]).square()).exp()
        angle = k * x.double()[..., None]
        return 1 + 2 * (c * angle.cos()).sum(-1), -2 * (c * k * angle.sin()).sum(-1)

    def _unit(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        s = torch.as_tensor(self.process.schedule(t)[1], dtype=torch.float64, device=x.device)
        return (x - self.process.low) / self.process.width, column(s, x)

    def predict(self, x: Tensor, t: Time, condition: None = None) -> GaussianPrediction:
        """The exact score at x (B, D) and t > 0, as a belief; see `ReflectedProcess`."""
        density, slope = self._series(*self._unit(x, t))
        return self.process.from_score((slope / density / self.process.width).to(x), x, t)

    def log_density(self, x: Tensor, t: Time) -> Tensor:
        """log p_t at x (B, D) for t > 0, (B,) float64, nats, in the unit of the data."""
        return self._series(*self._unit(x, t))[0].log().sum(1) - x.shape[1] * math.log(self.process.width)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Exact draws of x_0, (n, D)."""
        bins = torch.multinomial(self.weights, n, replacement=True, generator=generator).T
        within = torch.rand(bins.shape, generator=generator)
        return self.process.low + self.process.width * (bins + within) / self.weights.shape[1]

    def to(self, device: torch.device | str) -> BoxHistogram:
        """The prior with its tensors on another device."""
        new = copy.copy(self)
        new.weights = self.weights.to(device)
        return new


__all__ = ["BoxHistogram"]
