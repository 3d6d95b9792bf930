"""Measurements in Fourier space: band limits, and magnitudes without phases."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from guidekit.objectives.operators.base import Operator, Projection, Spectrum
from guidekit.objectives.operators.shapes import fits, space
from guidekit.objectives.operators.transforms import frequencies, hartley


@dataclasses.dataclass(frozen=True, eq=False)
class LowPass(Projection):
    """What of a state lies below a frequency.

    Args:
        shape: S, (C, *space), 1 to 3 axes in space.
        cutoff: in the unit of the rate (Hz); higher frequencies of the Fourier transform over all of space are lost.
        rate: samples in a unit along every axis (a second); 1 gives frequencies in cycles a sample, at most 1/2.

    Raises:
        ValueError: a cutoff that is not between 0 and half the rate.
    """

    shape: tuple[int, ...]
    cutoff: float
    rate: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a cutoff beyond what samples can tell."""
        space(self.shape, (1, 2, 3), "a band limit")
        if not 0 < self.cutoff < self.rate / 2:
            raise ValueError(f"cutoff={self.cutoff}; above 0 and below {self.rate / 2:g} is expected, half the rate")

    @property
    def axes(self) -> int:
        """In space."""
        return len(self.shape) - 1

    @cached_property
    def kept(self) -> Tensor:
        """Which frequencies are kept, bool (*space)."""
        return frequencies(self.shape[1:], self.rate) <= self.cutoff

    def forward(self, x: Tensor) -> Tensor:
        """x without what is above the cutoff."""
        dims = tuple(range(-self.axes, 0))
        spectrum = torch.fft.fftn(fits(x, self.shape, "the band limit"), dim=dims)
        return torch.fft.ifftn(spectrum * self.kept.to(x.device), dim=dims).real

    @cached_property
    def svd(self) -> Spectrum:
        """V is the Hartley transform."""

        def transformed(x: Tensor) -> Tensor:
            return hartley(x, self.axes)

        return Spectrum(
            self.kept.double().expand(self.shape),
            transformed,
            transformed,
            lambda y: transformed(y) * self.kept.to(y),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class PhaseRetrieval(Operator):
    """|F pad(x)|: magnitudes of the orthonormal Fourier transform of a state within a margin of zeros.

    States that are shifted, turned by 180 degrees or (where they may be negative) of the other sign look the same.

    Args:
        shape: S, (C, *space), 1 or 2 axes in space.
        oversampling: the margin on every side is oversampling / 8 of the side, so that 2 gives 1.5 times the side.

    Raises:
        ValueError: a negative oversampling.

    Source: the set-up of Chung et al. 2022, arXiv:2209.14687, which takes states in [-1, 1]; here they are in the unit
    of the objects, as in Zhang et al. 2024, arXiv:2407.01521 (DAPS).
    """

    shape: tuple[int, ...]
    oversampling: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what is no margin."""
        space(self.shape, (1, 2), "phase retrieval")
        if not 0 <= self.oversampling <= 16:
            raise ValueError(f"oversampling={self.oversampling}; a number from 0 to 16 is expected")

    def forward(self, x: Tensor) -> Tensor:
        """Magnitudes (B, C, *larger space), the frequency 0 in the middle."""
        sizes = self.shape[1:]
        margins = [int(self.oversampling / 8 * n) for n in sizes]
        dims = tuple(range(-len(sizes), 0))
        padded = functional.pad(fits(x, self.shape, "phase retrieval"), [m for m in reversed(margins) for _ in (0, 1)])
        spectrum = torch.fft.fftn(padded, dim=dims, norm="ortho")
        return torch.fft.fftshift(spectrum, dims).abs()
