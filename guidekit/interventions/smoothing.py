"""Gaussian smoothing along the grid on which tokens or pixels lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def gaussian_matrix(extent: int, sigma: float, like: Tensor) -> Tensor:
    """Weights exp(-(i - j)^2 / (2 sigma^2)), (n, n), not normalized; sigma in steps of the grid, may be infinite."""
    place = torch.arange(extent, dtype=torch.float64, device=like.device)
    gap = place[:, None] - place
    if sigma == 0:
        return torch.eye(extent, dtype=like.dtype, device=like.device)
    return torch.exp(-0.5 * (gap / sigma).square() if math.isfinite(sigma) else 0 * gap).to(like.dtype)


def smoothed(x: Tensor, axes: Sequence[int], sigma: float, valid: Tensor | None = None) -> Tensor:
    """Weighted means over a grid; nothing is read from outside it, or where `valid` is False.

    Args:
        x: (..., n_1, ..., n_d, ...).
        axes: the grid's axes.
        sigma: standard deviation of the Gaussian weights, in steps; 0 is x, infinity the mean.
        valid: bool, broadcasts against x; None is everywhere. Elsewhere x is left.
    """
    if sigma == 0:
        return x
    weight = torch.ones_like(x) if valid is None else valid.to(x).expand_as(x)
    total = x.masked_fill(weight == 0, 0.0)
    for axis in axes:
        matrix = gaussian_matrix(x.shape[axis], sigma, x)
        total, weight = (torch.tensordot(z.movedim(axis, -1), matrix, 1).movedim(-1, axis) for z in (total, weight))
    mean = total / weight.clamp_min(torch.finfo(x.dtype).tiny)
    return mean if valid is None else torch.where(valid, mean, x)
