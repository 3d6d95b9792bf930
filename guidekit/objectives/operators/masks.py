"""Measurements of some entries of a state: masks, boxes, missing traces."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from guidekit.objectives.operators.base import Projection, Spectrum


@dataclasses.dataclass(frozen=True)
class Keep(Projection):
    """A x = m x, with m 1 where something is known and 0 where not.

    Args:
        mask: bool, broadcasts against states (B, *S); True is known.
    """

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """What is kept of x (B, *S)."""
        return x * self.mask.to(x)

    @property
    def svd(self) -> Spectrum:
        """V is the identity."""
        return Spectrum(self.mask.double(), _same, _same, self.forward)


def _same(x: Tensor) -> Tensor:
    return x
