"""Computed tomography: line integrals of a slice from a few directions."""

from __future__ import annotations

import dataclasses
import functools
import math

import torch
from torch import Tensor

from guidekit.objectives.operators.base import Linear
from guidekit.objectives.operators.shapes import fits, space


@dataclasses.dataclass(frozen=True)
class Tomography(Linear):
    """Line integrals of a square slice (C, N, N) along parallel rays, (B, C, angles, detectors).

    Rays are sampled every half pixel and interpolated linearly between pixels, as one sparse matrix: the adjoint is its
    transpose exactly. Filtered back-projection is not A^+ of few directions, and none is offered.

    Args:
        shape: (C, N, N).
        angles: number of directions, evenly spread over 180 degrees.
        detectors: rays a direction, one pixel apart; None is N.
        spacing: side of a pixel, in the unit of length of the measurement (so 1 gives sums over pixels).

    Raises:
        ValueError: a slice that is not square, or numbers out of range.
    """

    shape: tuple[int, ...]
    angles: int = 30
    detectors: int | None = None
    spacing: float = 1.0

    def __post_init__(self) -> None:
        """Check shape and numbers."""
        height, width = space(self.shape, (2,), "tomography")
        if height != width:
            raise ValueError(f"tomography is of square slices; these are {height} x {width}")
        if not isinstance(self.angles, int) or self.angles < 1 or self.rays < 1 or not self.spacing > 0:
            raise ValueError(
                f"angles={self.angles}, detectors={self.detectors}, spacing={self.spacing}: all must be above 0"
            )

    @property
    def rays(self) -> int:
        """A direction."""
        return self.shape[-1] if self.detectors is None else self.detectors

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        flat = fits(x, self.shape, "tomography").reshape(-1, self.shape[-1] ** 2)
        found = torch.sparse.mm(self._matrix(x), flat.T).T
        return self.spacing * found.reshape(len(x), self.shape[0], self.angles, self.rays)

    def adjoint(self, y: Tensor) -> Tensor:
        """Back-projection: what every ray saw, laid along it."""
        flat = y.reshape(-1, self.angles * self.rays)
        return self.spacing * torch.sparse.mm(self._matrix(y).t(), flat.T).T.reshape(len(y), *self.shape)

    def _matrix(self, like: Tensor) -> Tensor:
        return _rays(self.shape[-1], self.angles, self.rays, like.dtype, like.device)


@functools.lru_cache(maxsize=8)
def _rays(size: int, angles: int, rays: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Lengths of rays in pixels, sparse (angles * rays, size^2)."""
    step, half = 0.5, (size - 1) / 2
    angle = math.pi * torch.arange(angles).double() / angles
    offset = torch.arange(rays).double() - (rays - 1) / 2
    reach = math.ceil(half * math.sqrt(2)) + 1
    along = torch.arange(-reach, reach + step / 2, step).double()
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    column = half + offset[None, :, None] * cos - along[None, None] * sin
    row = half + offset[None, :, None] * sin + along[None, None] * cos
    ray = torch.arange(angles * rays).reshape(angles, rays, 1).expand(row.shape)
    places, weights = [], []
    top, left = row.floor(), column.floor()
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = top + dy, left + dx
            weight = step * (1 - (row - y).abs()) * (1 - (column - x).abs())
            inside = (y >= 0) & (y < size) & (x >= 0) & (x < size) & (weight > 0)
            places.append(torch.stack([ray[inside], (y * size + x)[inside].long()]))
            weights.append(weight[inside])
    made = torch.sparse_coo_tensor(
        torch.cat(places, 1), torch.cat(weights), (angles * rays, size**2), check_invariants=False
    )
    return made.coalesce().to(device=device, dtype=dtype)
