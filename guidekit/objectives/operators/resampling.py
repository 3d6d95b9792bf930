"""Lower resolution: means of blocks, and matrices along the axes (bicubic with antialiasing, separable blurs)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from guidekit.objectives.operators.base import Linear, Spectrum
from guidekit.objectives.operators.shapes import fits, space
from guidekit.objectives.operators.transforms import along, cosines


@dataclasses.dataclass(frozen=True, eq=False)
class BlockMean(Linear):
    """Means of blocks of factor x factor pixels, (C, H, W) -> (C, H / factor, W / factor); 1 to 3 axes in space.

    A^+ repeats each number over its block. The singular values are factor^(-axes / 2) on the constant of each block
    and 0 on its other cosines.

    Args:
        shape: S, (C, *space).
        factor: side of a block.

    Raises:
        ValueError: a factor that does not divide the sides.
    """

    shape: tuple[int, ...]
    factor: int = 4

    def __post_init__(self) -> None:
        """Refuse sides that are no whole number of blocks."""
        sizes = space(self.shape, (1, 2, 3), "a mean of blocks")
        if not isinstance(self.factor, int) or self.factor < 2 or any(n % self.factor for n in sizes):
            raise ValueError(f"factor={self.factor}; a whole number from 2 that divides the sides {sizes} is expected")

    @property
    def axes(self) -> int:
        """In space."""
        return len(self.shape) - 1

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return self._blocks(fits(x, self.shape, "the mean of blocks")).mean(tuple(range(-self.axes, 0)))

    def adjoint(self, y: Tensor) -> Tensor:
        """Each number, over factor^axes, repeated over its block."""
        return self.pinv(y) / self.factor**self.axes

    def pinv(self, y: Tensor) -> Tensor:
        """Each number repeated over its block."""
        for axis in range(2, 2 + self.axes):
            y = y.repeat_interleave(self.factor, axis)
        return y

    @cached_property
    def svd(self) -> Spectrum:
        """V^T are the cosines of every block, (C, *blocks, factor, ...)."""
        first = torch.zeros((self.factor,) * self.axes, dtype=torch.float64)
        first[(0,) * self.axes] = self.factor ** (-self.axes / 2)
        blocks = [n // self.factor for n in self.shape[1:]]
        values = first.expand(self.shape[0], *blocks, *first.shape)
        return Spectrum(values, self._analyze, self._synthesize, self._measured)

    def _blocks(self, x: Tensor) -> Tensor:
        """(B, C, *blocks, factor, ...)."""
        split = [size for n in self.shape[1:] for size in (n // self.factor, self.factor)]
        order = [2 + 2 * axis + inner for inner in (0, 1) for axis in range(self.axes)]
        return x.reshape(len(x), self.shape[0], *split).permute(0, 1, *order)

    def _analyze(self, x: Tensor) -> Tensor:
        found = self._blocks(x)
        for axis in range(-self.axes, 0):
            found = along(found, cosines(self.factor), axis)
        return found

    def _synthesize(self, coefficients: Tensor) -> Tensor:
        for axis in range(-self.axes, 0):
            coefficients = along(coefficients, cosines(self.factor).T, axis)
        order = [one for axis in range(self.axes) for one in (2 + axis, 2 + self.axes + axis)]
        return coefficients.permute(0, 1, *order).reshape(len(coefficients), *self.shape)

    def _measured(self, y: Tensor) -> Tensor:
        found = y.new_zeros(*y.shape, *(self.factor,) * self.axes)
        first: tuple[Any, ...] = (..., *(0,) * self.axes)
        found[first] = y
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Separable(Linear):
    """A matrix along every axis in space: resizing, and blurs that are products; its singular values are products too.

    Args:
        shape: S, (C, *space).
        matrices: (m_i, n_i) of every axis in space.

    Raises:
        ValueError: matrices that do not fit the sides.
    """

    shape: tuple[int, ...]
    matrices: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        """Refuse matrices of other sizes."""
        sizes = space(self.shape, (1, 2, 3), "a separable operator")
        given = tuple(tuple(matrix.shape) for matrix in self.matrices)
        if tuple(one[-1] for one in given) != sizes or any(len(one) != 2 for one in given):
            raise ValueError(f"matrices {given} do not fit states {tuple(self.shape)}: one (m, n) for every axis of n")

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return self._applied(fits(x, self.shape, "the operator"), self.matrices)

    def adjoint(self, y: Tensor) -> Tensor:
        """The transposed matrices along the axes."""
        return self._applied(y, [matrix.T for matrix in self.matrices])

    @cached_property
    def svd(self) -> Spectrum:
        """Products of those of the matrices, (C, *space)."""
        lefts, rights = [], []
        values = torch.ones(self.shape, dtype=torch.float64)
        for axis, matrix in enumerate(self.matrices):
            u, s, vt = torch.linalg.svd(matrix.double().cpu(), full_matrices=True)
            n, own = matrix.shape[1], torch.zeros(matrix.shape[1], dtype=torch.float64)
            own[: len(s)] = s
            left = torch.zeros(n, matrix.shape[0], dtype=torch.float64)
            left[: len(s)] = u.T[: len(s)]
            lefts.append(left)
            rights.append(vt)
            values = values * own.reshape([-1 if i == axis + 1 else 1 for i in range(len(self.shape))])
        return Spectrum(
            values,
            lambda x: self._applied(x, rights),
            lambda c: self._applied(c, [right.T for right in rights]),
            lambda y: self._applied(y, lefts) * (values > 0).to(y),
        )

    def _applied(self, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        for axis, matrix in enumerate(matrices):
            x = along(x, matrix, axis + 2)
        return x


def bicubic(shape: Sequence[int], factor: int = 4) -> Separable:
    """Every factor-th pixel after a cubic filter of that width (antialiased, a = -0.5), borders reflected.

    Raises:
        ValueError: a factor that does not divide the sides.

    Source: Keys 1981, doi:10.1109/TASSP.1981.1163711; the filter is stretched by the factor, as for smaller pictures.
    """
    sizes = space(shape, (1, 2, 3), "bicubic resizing")
    if not isinstance(factor, int) or factor < 2 or any(n % factor for n in sizes):
        raise ValueError(f"factor={factor}; a whole number from 2 that divides the sides {sizes} is expected")
    return Separable(tuple(shape), tuple(_cubic(n, factor) for n in sizes))


def _cubic(size: int, factor: int) -> Tensor:
    """(size / factor, size) weights."""
    centers = (torch.arange(size // factor).double() + 0.5) * factor - 0.5
    reach = 2 * factor
    places = torch.arange(-reach, size + reach).double()
    d = ((places[None] - centers[:, None]) / factor).abs()
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    weights = torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))
    return folded(weights / weights.sum(1, keepdim=True), reach, size)


def folded(rows: Tensor, before: int, size: int) -> Tensor:
    """Weights (m, before + size + after) of places beyond the borders laid onto their mirror images, (m, size)."""
    places = torch.arange(rows.shape[1]) - before
    period = max(1, 2 * (size - 1))
    places = places.remainder(period)
    places = torch.where(places < size, places, period - places)
    return torch.zeros(len(rows), size, dtype=rows.dtype).index_add_(1, places, rows)


def gaussian_rows(size: int, std: float) -> Tensor:
    """A Gaussian filter of standard deviation `std` pixels, cut at 4 of them, borders reflected: (size, size)."""
    reach = max(1, math.ceil(4 * std))
    d = torch.arange(-reach, size + reach).double()[None] - torch.arange(size).double()[:, None]
    weights = torch.where(d.abs() <= reach, (-0.5 * (d / std) ** 2).exp(), 0.0)
    return folded(weights / weights.sum(1, keepdim=True), reach, size)
