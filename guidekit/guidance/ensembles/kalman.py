"""How an ensemble moves: pure functions of its members, of what the forward model says of each, and of who takes part.

Shapes: P ensembles of K members, d numbers of a state, m of a measurement. `gaps` is A(x) - y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = 1e-30
"""Norms of interactions below it move nobody."""


@dataclass(frozen=True)
class Seen:
    """What the forward model says of the members.

    Args:
        values: A(x), (P, K, m); anything where a member failed.
        gaps: half the gradient of the loss in the measurement: A(x) - y for squared distances, (P, K, m).
        alive: (P, K) bool, who did not fail.
    """

    values: Tensor
    gaps: Tensor
    alive: Tensor

    def to(self, dtype: torch.dtype) -> Seen:
        """In another precision, with zeros where a member failed."""
        fine = self.alive[..., None]
        values, gaps = (torch.where(fine, each, 0.0).to(dtype) for each in (self.values, self.gaps))
        return Seen(values, gaps, self.alive)


def centered(numbers: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """(mean of those who take part (P, 1, n), differences from it (P, K, n), 0 for others) of numbers (P, K, n)."""
    fine = alive[..., None]
    count = fine.sum(1, keepdim=True).clamp_min(1)
    mean = torch.where(fine, numbers, 0.0).sum(1, keepdim=True) / count
    return mean, torch.where(fine, numbers - mean, 0.0)


def interactions(seen: Seen, dtype: torch.dtype = torch.float64) -> Tensor:
    """C_jk = <gap_j, A(x_k) - mean> / J, (P, K, K): how much member j moves along the difference of k from the mean."""
    seen = seen.to(dtype)
    _, apart = centered(seen.values, seen.alive)
    count = seen.alive.sum(1).clamp_min(1)[:, None, None]
    return seen.gaps @ apart.mT / count


def descent(x: Tensor, seen: Seen, length: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Moves (P, K, d) of members x (P, K, d): -length C (x - mean) / |C|, with the norm of Frobenius.

    For a linear A that is -length C_xx A^T gap, descent of the squared distance preconditioned by the covariance of the
    ensemble, up to the norm, which makes the length that of no unit.

    Source: Zheng et al. 2024, arXiv:2409.20175, algorithm 1.
    """
    # Large numbers are made small first: their products must not overflow, and the norm takes the factor out again.
    scaled = Seen(_unit(seen.values, seen.alive), _unit(seen.gaps, seen.alive), seen.alive)
    c = interactions(scaled, dtype)
    norm = torch.linalg.matrix_norm(c, keepdim=True)
    _, apart = centered(x.to(dtype), seen.alive)
    return (torch.where(norm > LEAST, -length * c / norm.clamp_min(LEAST), 0.0) @ apart).to(x)


def _unit(numbers: Tensor, alive: Tensor) -> Tensor:
    """Numbers (P, K, m) over the largest of those who take part."""
    largest = torch.where(alive[..., None], numbers, 0.0).abs().amax((1, 2), keepdim=True)
    return numbers / torch.where(largest > 0, largest, 1.0)


@dataclass(frozen=True)
class Gain:
    """The singular value decomposition of what is seen of an ensemble, in units of the noise: S = U diag(s) V^T.

    Everything that Kalman's update asks for is in it, and its size is the smaller of K and m.

    Args:
        u: (P, m, r).
        s: (P, 1, r).
        v: (P, K, r).
        apart: differences of the members from their mean, over sqrt(J - 1), (P, K, d).
        unit: sqrt(share) / noise, (P, 1, 1).
    """

    u: Tensor
    s: Tensor
    v: Tensor
    apart: Tensor
    unit: Tensor

    def moves(self, innovations: Tensor) -> Tensor:
        """C_xy (C_yy + I)^-1 of innovations (P, n, m) in units of the noise, (P, n, d)."""
        along = (innovations @ self.u) * (self.s / (1 + self.s.square()))
        return along @ self.v.mT @ self.apart

    def narrowed(self) -> Tensor:
        """By how much the differences shrink, T - 1 of them, (P, K, d): T = (1 + S^T S)^(-1/2)."""
        shrink = (1 + self.s.square()).rsqrt() - 1
        return (self.v * shrink) @ (self.v.mT @ self.apart)


def gain(x: Tensor, seen: Seen, noise: Tensor, share: float) -> Gain:
    """The gain of members x (P, K, d) for a noise (P,) and a share in (0, 1] of the measurement; float64."""
    x, seen = x.double(), seen.to(torch.float64)
    root = (seen.alive.sum(1) - 1).clamp_min(1).double().sqrt()[:, None, None]
    unit = math.sqrt(share) / noise.double()[:, None, None]
    _, apart = centered(x, seen.alive)
    _, spread = centered(seen.values, seen.alive)
    u, s, vh = torch.linalg.svd(unit * spread.mT / root, full_matrices=False)
    return Gain(u, s[:, None], vh.mT, apart / root, unit)


def transform(x: Tensor, seen: Seen, noise: Tensor, share: float = 1.0, inflation: float = 1.0) -> Tensor:
    """Moves (P, K, d): the mean by Kalman's gain, differences from it by T; nothing is drawn.

    Exact for a linear A and Gaussian noise: the covariance of the members becomes
    (C^-1 + share A^T A / noise^2)^-1 at any number of them, where C^-1 is within their span.

    Source: Bishop et al. 2001 (ensemble transform Kalman filter), the symmetric root of Hunt et al. 2007.
    """
    found, fine = gain(x, seen, noise, share), seen.alive[..., None]
    root = (seen.alive.sum(1) - 1).clamp_min(1).double().sqrt()[:, None, None]
    mean, _ = centered(seen.to(torch.float64).gaps, seen.alive)
    apart = root * (found.apart + found.narrowed())
    moved = found.moves(-found.unit * mean) + inflation * apart - root * found.apart
    return torch.where(fine, moved, 0.0).to(x)


def stochastic(x: Tensor, seen: Seen, noise: Tensor, noises: Tensor, share: float = 1.0) -> Tensor:
    """Moves (P, K, d): each member by Kalman's gain towards a measurement with noise of its own.

    `noises` are standard normal, (P, K, m).

    Exact for a linear A and Gaussian noise as the members grow.

    Source: Iglesias et al. 2013 (ensemble Kalman inversion), perturbed observations of Burgers et al. 1998.
    """
    found, fine = gain(x, seen, noise, share), seen.alive[..., None]
    return torch.where(fine, found.moves(noises.double() - found.unit * seen.to(torch.float64).gaps), 0.0).to(x)


__all__ = ["Gain", "Seen", "centered", "descent", "gain", "interactions", "stochastic", "transform"]
