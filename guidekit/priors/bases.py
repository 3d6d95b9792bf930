"""Orthonormal bases in which the covariance of a field is diagonal."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Protocol

import torch
from torch import Tensor

from guidekit.errors import UnknownNameError


class Basis(Protocol):
    """Coefficients of states (B, channels, *grid), as many as a state has numbers."""

    def filter(self, weights: Tensor, v: Tensor) -> Tensor:
        """Coefficients of v (B, *S) times weights (*S) or (B, *S), turned back into (B, *S)."""

    def power(self, v: Tensor) -> Tensor:
        """Mean square of the coefficients of v over the batch, (*S)."""

    def check(self, variances: Tensor) -> None:
        """Raise ValueError for variances (*S) that no real field has."""

    def to(self, like: Tensor) -> Basis:
        """On the device and in the precision of a tensor."""


@dataclasses.dataclass(frozen=True)
class Fourier:
    """Plane waves on a torus: the fields with such a covariance are stationary."""

    def filter(self, weights: Tensor, v: Tensor) -> Tensor:
        """See `Basis.filter`; weights at k and -k are equal."""
        axes = tuple(range(2, v.ndim))
        half = weights[..., : v.shape[-1] // 2 + 1]
        return torch.fft.irfftn(torch.fft.rfftn(v, dim=axes) * half, s=v.shape[2:], dim=axes)

    def power(self, v: Tensor) -> Tensor:
        """See `Basis.power`."""
        found = torch.fft.fftn(v, dim=tuple(range(2, v.ndim)), norm="ortho")
        return (found.real.square() + found.imag.square()).mean(0)

    def check(self, variances: Tensor) -> None:
        """See `Basis.check`."""
        axes = list(range(1, variances.ndim))
        mirrored = variances.flip(axes).roll([1] * len(axes), axes)
        if not torch.allclose(variances, mirrored, rtol=1e-3, atol=0):
            raise ValueError("the spectrum of a real field is equal at k and -k, and this one is not")

    def to(self, like: Tensor) -> Fourier:
        """See `Basis.to`."""
        return self


@dataclasses.dataclass(frozen=True)
class Cosine:
    """Cosines along every axis of the grid (DCT-II): stationary fields with reflecting edges, without a period."""

    def filter(self, weights: Tensor, v: Tensor) -> Tensor:
        """See `Basis.filter`."""
        return self._turn(weights * self._turn(v), back=True)

    def power(self, v: Tensor) -> Tensor:
        """See `Basis.power`."""
        return self._turn(v).square().mean(0)

    def check(self, variances: Tensor) -> None:
        """Every spectrum will do."""

    def to(self, like: Tensor) -> Cosine:
        """See `Basis.to`."""
        return self

    @staticmethod
    def _turn(v: Tensor, back: bool = False) -> Tensor:
        for axis in range(2, v.ndim):
            matrix = cosines(v.shape[axis]).to(v)
            v = torch.tensordot(v, matrix, ([axis], [0 if back else 1])).movedim(-1, axis)
        return v


@functools.lru_cache(maxsize=16)
def cosines(size: int) -> Tensor:
    """The orthogonal matrix (size, size) of the DCT-II, a row a frequency, float64."""
    place = torch.arange(size, dtype=torch.float64)
    matrix = math.sqrt(2 / size) * torch.cos(math.pi * (place + 0.5) * place[:, None] / size)
    matrix[0] /= math.sqrt(2)
    return matrix


@dataclasses.dataclass(frozen=True, eq=False)
class Rotation:
    """Eigenvectors of a full covariance, for small states.

    Args:
        vectors: (D, D) orthogonal, a column a coefficient.
    """

    vectors: Tensor

    def filter(self, weights: Tensor, v: Tensor) -> Tensor:
        """See `Basis.filter`."""
        vectors = self.vectors.to(v)
        coefficients = (v.flatten(1) @ vectors).view_as(v)
        return ((weights * coefficients).flatten(1) @ vectors.T).view_as(v)

    def power(self, v: Tensor) -> Tensor:
        """See `Basis.power`."""
        return (v.flatten(1) @ self.vectors.to(v)).square().mean(0).view(v.shape[1:])

    def check(self, variances: Tensor) -> None:
        """Raise ValueError for vectors of another size."""
        if self.vectors.shape != (variances.numel(),) * 2:
            raise ValueError(f"eigenvectors of shape {tuple(self.vectors.shape)} for {variances.numel()} variances")

    def to(self, like: Tensor) -> Rotation:
        """See `Basis.to`."""
        return Rotation(self.vectors.to(like))


BASES: dict[str, type[Fourier] | type[Cosine]] = {"fourier": Fourier, "cosine": Cosine}
"""Those that need no numbers."""


def named(name: str) -> Basis:
    """A basis by name.

    Raises:
        UnknownNameError: none of that name.
    """
    if name not in BASES:
        raise UnknownNameError("basis", name, [*BASES, "dense (to fit)"])
    return BASES[name]()
