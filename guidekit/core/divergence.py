"""Divergence of a vector field that was made from states with a graph: exact, or estimated with random signs."""

from __future__ import annotations

import torch
from torch import Tensor


def divergence(velocity: Tensor, x: Tensor) -> Tensor:
    """sum_i d v_i / d x_i, (B,), of a velocity (B, *S) made from x (B, *S) with a graph; one backward pass an entry."""
    flat, total = velocity.flatten(1), torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for i in range(flat.shape[1]):
        (gradient,) = torch.autograd.grad(flat[:, i].sum(), x, retain_graph=True)
        total = total + gradient.flatten(1)[:, i]
    return total


def estimated_divergence(velocity: Tensor, x: Tensor, signs: Tensor) -> Tensor:
    """Mean over probes of e . (dv / dx) e, (B,), unbiased for random signs e (probes, B, *S)."""
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for e in signs:
        (gradient,) = torch.autograd.grad(velocity, x, e, retain_graph=True)
        total = total + (gradient * e).flatten(1).sum(1)
    return total / len(signs)


__all__ = ["divergence", "estimated_divergence"]
