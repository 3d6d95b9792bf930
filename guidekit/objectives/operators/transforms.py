"""Real orthonormal transforms, in which operators have singular values: Hartley, and cosines of blocks."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def hartley(x: Tensor, axes: int) -> Tensor:
    """Re F x - Im F x over the last axes, F the orthonormal Fourier transform: real, orthonormal, its own inverse.

    Whatever is diagonal in F with values whose squared size is even in frequency (a circular convolution with a real
    kernel, a mask of frequencies) has its right singular vectors here.

    Source: Bracewell 1983, doi:10.1364/JOSA.73.001832.
    """
    found = torch.fft.fftn(x, dim=tuple(range(-axes, 0)), norm="ortho")
    return found.real - found.imag


def frequencies(sizes: Sequence[int], rate: float = 1.0) -> Tensor:
    """|f| of the coefficients of a Fourier transform over axes of these sizes, (*sizes), in the unit of the rate."""
    axes = torch.meshgrid(*(torch.fft.fftfreq(n, 1 / rate, dtype=torch.float64) for n in sizes), indexing="ij")
    return torch.stack(axes).square().sum(0).sqrt()


@functools.lru_cache(maxsize=32)
def cosines(size: int) -> Tensor:
    """The orthonormal DCT-II, (size, size) float64; row 0 is constant."""
    k, i = torch.meshgrid(torch.arange(size).double(), torch.arange(size).double(), indexing="ij")
    rows = (math.pi * k * (i + 0.5) / size).cos() * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows


def along(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """A matrix (m, n) applied to an axis of n entries."""
    return torch.movedim(torch.movedim(x, axis, -1) @ matrix.to(x).T, -1, axis)
