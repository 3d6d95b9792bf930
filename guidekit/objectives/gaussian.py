"""Linear-Gaussian likelihoods and quadratic rewards: objectives whose posteriors have closed forms."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class LinearGaussian:
    """Likelihood of a measurement y = A x_0 + noise_std * eps.

    Args:
        a: A, (m, D).
        y: measurement, (m,), or (B, m) with one row per sample.
        noise_std: standard deviation of the noise, in the unit of y.
    """

    a: Tensor
    y: Tensor
    noise_std: Tensor | float
    differentiable = True

    def __post_init__(self) -> None:
        """Make tensors of what was given and check that the shapes fit."""
        object.__setattr__(self, "a", torch.as_tensor(self.a))
        object.__setattr__(self, "y", torch.as_tensor(self.y))
        object.__setattr__(self, "noise_std", torch.as_tensor(self.noise_std))
        if self.a.ndim != 2 or self.y.shape[-1] != self.a.shape[0]:
            raise ValueError(
                f"A is {tuple(self.a.shape)} and y {tuple(self.y.shape)}; expected (m, D) and (m,) or (B, m)"
            )

    def residual(self, x0: Tensor) -> Tensor:
        """y - A x_0, (B, m)."""
        return self.y.to(x0) - x0.flatten(1) @ self.a.to(x0).T

    def distance(self, x0: Tensor) -> Tensor:
        """Euclidean norm of the residual, one number a sample, (B,)."""
        return torch.linalg.vector_norm(self.residual(x0), dim=1)

    def __call__(self, x0: Tensor) -> Tensor:
        """log p(y | x_0) in nats, (B,)."""
        std = self.noise_std.to(x0)
        size = self.y.shape[-1]
        return -0.5 * self.residual(x0).square().sum(1) / std**2 - size * (std.log() + 0.5 * math.log(2 * math.pi))


@dataclasses.dataclass(frozen=True)
class QuadraticReward:
    """Reward -||x_0 - center||^2 / (2 scale^2): a measurement of every coordinate, up to a constant.

    Args:
        center: (D,), in the unit of the data.
        scale: in the unit of the data.
    """

    center: Tensor
    scale: float = 1.0
    differentiable = True

    def __call__(self, x0: Tensor) -> Tensor:
        """Reward of clean states (B, D), (B,)."""
        return -0.5 * (x0 - self.center.to(x0)).square().sum(1) / self.scale**2

    def likelihood(self, temperature: float = 1.0) -> LinearGaussian:
        """The likelihood proportional to exp(reward / temperature)."""
        center = torch.as_tensor(self.center)
        return LinearGaussian(torch.eye(len(center)).to(center), center, self.scale * math.sqrt(temperature))
