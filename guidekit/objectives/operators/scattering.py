"""Diffraction tomography: waves that a weak object scatters, heard by receivers around it."""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property

import torch
from torch import Tensor

from guidekit.objectives.operators.base import Linear
from guidekit.objectives.operators.shapes import fits, space


@dataclasses.dataclass(frozen=True, eq=False)
class LinearScattering(Linear):
    """y = dx dy conj(f u_in)^T G of a permittivity contrast f (1, N, N): first Born approximation in two dimensions.

    u_in = i/4 H_0(k r) of transmitters and G = k^2 i/4 H_0(k r) of receivers, evenly spread over a circle; y
    (B, 2, transmitters, receivers) are real and imaginary parts. Few receivers give a matrix of low rank.

    Args:
        shape: (1, N, N).
        side: of the square, m.
        wavelength: in pixels.
        transmitters, receivers: number of either.
        radius: of the circle, m.

    Raises:
        ValueError: another shape, or a circle that touches the square.

    Source: the set-up of Zheng et al. 2025, arXiv:2503.11043 (InverseBench), with 20 transmitters, 360, 180 or 60
    receivers and N = 128.
    """

    shape: tuple[int, ...]
    side: float = 0.18
    wavelength: float = 6.0
    transmitters: int = 20
    receivers: int = 60
    radius: float = 1.6

    def __post_init__(self) -> None:
        """Check the geometry."""
        height, width = space(self.shape, (2,), "scattering")
        if self.shape[0] != 1 or height != width:
            raise ValueError(f"scattering is of square states (1, N, N); these are {tuple(self.shape)}")
        if self.radius <= self.side / math.sqrt(2) or self.wavelength < 2:
            raise ValueError(
                f"radius={self.radius} m, side={self.side} m, wavelength={self.wavelength} pixels: the circle must lie "
                "outside of the square, and a wave has 2 pixels or more"
            )
        if min(self.transmitters, self.receivers) < 1:
            raise ValueError(f"transmitters={self.transmitters}, receivers={self.receivers}: one of each at least")

    @property
    def pixel(self) -> float:
        """Side of a pixel, m."""
        return self.side / self.shape[-1]

    @cached_property
    def incident(self) -> Tensor:
        """u_in, complex128 (transmitters, pixels)."""
        return self._waves(self.transmitters)

    @cached_property
    def green(self) -> Tensor:
        """G, complex128 (pixels, receivers)."""
        return (2 * math.pi / (self.wavelength * self.pixel)) ** 2 * self._waves(self.receivers).T

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        flat = fits(x, self.shape, "scattering").flatten(1)
        incident, green = self._like(x)
        found = self.pixel**2 * (flat[:, None] * incident.conj()) @ green
        return torch.stack([found.real, found.imag], 1)

    def adjoint(self, y: Tensor) -> Tensor:
        """dx dy Re sum_tr u_in y G^H."""
        incident, green = self._like(y)
        waves = torch.complex(y[:, 0].contiguous(), y[:, 1].contiguous()) @ green.mH
        return self.pixel**2 * (waves * incident).real.sum(1).reshape(len(y), *self.shape)

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kind = torch.complex128 if x.dtype == torch.float64 else torch.complex64
        return self.incident.to(x.device, kind), self.green.to(x.device, kind)

    def _waves(self, count: int) -> Tensor:
        """i/4 H_0^(1)(k r) from points of the circle, complex128 (count, pixels)."""
        n, angle = self.shape[-1], 2 * math.pi * torch.arange(count).double() / count
        places = (torch.arange(n).double() - (n - 1) / 2) * self.pixel
        y, x = torch.meshgrid(places, places, indexing="ij")
        dy = y.flatten()[None] - self.radius * angle.sin()[:, None]
        dx = x.flatten()[None] - self.radius * angle.cos()[:, None]
        argument = 2 * math.pi / (self.wavelength * self.pixel) * (dx.square() + dy.square()).sqrt()
        hankel = torch.complex(torch.special.bessel_j0(argument), torch.special.bessel_y0(argument))
        return 0.25j * hankel
