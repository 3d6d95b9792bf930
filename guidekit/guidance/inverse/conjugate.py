"""Conjugate gradients of a fixed number of steps: every row by itself, its inner products in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.state import column

CLOSE = 1e-14
"""Share of the squared right-hand side below which a residual is rounding, and share of a direction's squared length
below which the system has no curvature along it."""


def solved(system: Callable[[Tensor], Tensor], wanted: Tensor, steps: int, least: Tensor | float = 0.0) -> Tensor:
    """v with system(v) close to `wanted` (B, *M), after so many steps from 0; each asks the system once.

    Where the system is singular the answer stays in its range. A row that is solved, or meets a direction along which
    the system has less curvature than it can have (the Jacobian of a network is not quite a covariance, and along some
    directions not nearly), stays where it is.

    Args:
        system: symmetric, at least nearly positive definite, row by row.
        wanted: (B, *M).
        steps: at least 1; as many as there are different eigenvalues solve it.
        least: eigenvalue below which the system has none, a number or broadcasting against rows: a noise variance.

    Source: Hestenes & Stiefel 1952, J. Res. NBS 49, the algorithm of section 3.
    """
    found, residual = torch.zeros_like(wanted), wanted
    direction, power = residual, dot(residual, residual)
    enough, going = CLOSE * power, power > 0
    for left in range(steps - 1, -1, -1):
        image = system(direction)
        bend = dot(direction, image)
        floor = 0.5 * dot(direction, least * direction) + CLOSE * dot(direction, direction)
        going = going & (power > enough) & (bend > floor)
        size = _number(torch.where(going, power / bend, 0.0), wanted)
        found = found + size * direction
        if not left:
            break
        residual = residual - size * image
        new = dot(residual, residual)
        direction = residual + _number(torch.where(going, new / power, 0.0), wanted) * direction
        power = torch.where(going, new, power)
    return found


def dot(v: Tensor, w: Tensor) -> Tensor:
    """Inner products of rows (B, *M), float64 (B,)."""
    return (v.double() * w.double()).flatten(1).sum(1)


def _number(values: Tensor, like: Tensor) -> Tensor:
    """Numbers (B,), 0 where there is none, that broadcast against rows in their precision."""
    return column(values.nan_to_num(0.0, 0.0, 0.0).to(like.dtype), like)


__all__ = ["dot", "solved"]
