"""Measurements by a matrix."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from guidekit.objectives.operators.base import Linear, Spectrum


@dataclasses.dataclass(frozen=True, eq=False)
class Dense(Linear):
    """A x of flattened states, with A given as numbers; singular values are found once, in float64.

    Args:
        matrix: A, (m, d).
        shape: S, of one state, of d entries; None is (d,).

    Raises:
        ValueError: no matrix, or states of another number of entries.
    """

    matrix: Tensor
    shape: Any = None  # a tuple, once it is made

    def __post_init__(self) -> None:
        """Check that matrix and shape fit."""
        if self.matrix.ndim != 2 or not self.matrix.is_floating_point():
            raise ValueError(f"a matrix (m, d) of real numbers is needed, got {tuple(self.matrix.shape)}")
        shape = (self.matrix.shape[1],) if self.shape is None else tuple(self.shape)
        if torch.Size(shape).numel() != self.matrix.shape[1]:
            raise ValueError(
                f"the matrix has {self.matrix.shape[1]} columns for states {shape}: one an entry is needed"
            )
        object.__setattr__(self, "shape", shape)

    def forward(self, x: Tensor) -> Tensor:
        """A x of states (B, *S), (B, m)."""
        return x.flatten(1) @ self.matrix.to(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y of measurements (B, m), (B, *S)."""
        return (y @ self.matrix.to(y)).view(len(y), *self.shape)

    @cached_property
    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """U^T padded to (d, m), the d singular values, and V^T (d, d), float64."""
        m, d = self.matrix.shape
        u, s, vh = torch.linalg.svd(self.matrix.double(), full_matrices=True)
        count = len(s)
        left, values = u.new_zeros(d, m), u.new_zeros(d)
        left[:count], values[:count] = u.T[:count], s
        return left, values, vh

    @property
    def svd(self) -> Spectrum:
        """By the matrix; coefficients (B, d)."""
        left, values, right = self._factors

        def synthesize(c: Tensor) -> Tensor:
            return (c @ right.to(c)).view(len(c), *self.shape)

        return Spectrum(values, lambda x: x.flatten(1) @ right.to(x).T, synthesize, lambda y: y @ left.to(y).T)


__all__ = ["Dense"]
