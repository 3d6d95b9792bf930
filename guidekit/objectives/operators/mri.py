"""Magnetic resonance imaging: lines of Fourier space, seen by one coil or by several."""

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
from guidekit.objectives.operators.transforms import hartley

DIMS = (-2, -1)


def sampled_columns(width: int, acceleration: float = 4, center: float | None = None, seed: int = 0) -> Tensor:
    """Which of `width` columns of k-space are measured, bool (width,): the middle wholly, of the rest some at random.

    Args:
        width: columns, frequency 0 in the middle.
        acceleration: R; about width / R columns are measured.
        center: share of columns in the middle; None is .08 up to R = 6 and .04 beyond.
        seed: of the choice.

    Raises:
        ValueError: numbers out of range.
    """
    share = center if center is not None else (0.08 if acceleration <= 6 else 0.04)
    if not 1 <= acceleration <= width or not 0 < share <= 1:
        raise ValueError(f"acceleration={acceleration}, center={center}; from 1 to {width} columns and a share of them")
    middle, wanted = max(1, round(share * width)), round(width / acceleration)
    known = torch.zeros(width, dtype=torch.bool)
    first = (width - middle + 1) // 2
    known[first : first + middle] = True
    others = (~known).nonzero()[:, 0]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
    known[others[order[: max(0, wanted - middle)]]] = True
    return known


def birdcage(coils: int, size: Sequence[int], distance: float = 1.5) -> Tensor:
    """Sensitivities of coils around a head, complex128 (coils, H, W); sum of squared sizes 1 in every pixel.

    Each falls off with the distance from its coil, on a circle of `distance` half-widths, and its phase turns with the
    direction to it.
    """
    angles = 2 * math.pi * torch.arange(coils).double() / max(coils, 1)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in size), indexing="ij")
    dy = y[None] - distance * angles.sin()[:, None, None]
    dx = x[None] - distance * angles.cos()[:, None, None]
    maps = torch.polar(1 / (dx.square() + dy.square()).sqrt(), torch.atan2(dx, -dy) + angles[:, None, None])
    return maps / maps.abs().square().sum(0, keepdim=True).sqrt()


def transformed(x: Tensor) -> Tensor:
    """The orthonormal Fourier transform over (H, W), frequency 0 in the middle."""
    spectrum = torch.fft.fft2(torch.fft.ifftshift(x, DIMS), norm="ortho")
    return torch.fft.fftshift(spectrum, DIMS)


def restored(k: Tensor) -> Tensor:
    """The inverse of `transformed`."""
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k, DIMS), norm="ortho"), DIMS)


class KSpace(Linear):
    """Base: images (1, H, W), real magnitudes, or (2, H, W), real and imaginary parts; k-space has both parts."""

    shape: tuple[int, ...]
    mask: Tensor

    def _check(self) -> None:
        sizes = space(self.shape, (2,), "magnetic resonance imaging")
        if self.shape[0] not in (1, 2):
            raise ValueError(f"states {tuple(self.shape)}: 1 channel (magnitude) or 2 (real, imaginary) are expected")
        if tuple(self.mask.shape) not in (sizes, sizes[1:]):
            raise ValueError(f"mask is {tuple(self.mask.shape)}; k-space of {sizes} takes {sizes} or {sizes[1:]}")

    def image(self, x: Tensor) -> Tensor:
        """States (B, 1 or 2, H, W) as complex numbers (B, H, W)."""
        fits(x, self.shape, "the scanner")
        return torch.complex(x[:, 0], torch.zeros_like(x[:, 0]) if self.shape[0] == 1 else x[:, 1])

    def state(self, image: Tensor) -> Tensor:
        """Complex numbers (B, H, W) as states; the adjoint of `image`."""
        return _channels(image)[:, : self.shape[0]]

    def within(self, y: Tensor) -> Tensor:
        """See `Operator.within`: where k-space is measured."""
        return y * self.mask.to(y)


@dataclasses.dataclass(frozen=True, eq=False)
class SingleCoil(KSpace):
    """y = M F x of one coil that hears all places alike, (B, 2, H, W), 0 where k-space is not measured.

    Args:
        shape: (1, H, W), real images, or (2, H, W), complex ones.
        mask: bool (W,) or (H, W), frequency 0 in the middle; see `sampled_columns`.

    Raises:
        ValueError: another shape of state or mask.
    """

    shape: tuple[int, ...]
    mask: Tensor

    def __post_init__(self) -> None:
        """Check the shapes."""
        self._check()

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return self.within(_channels(transformed(self.image(x))))

    def adjoint(self, y: Tensor) -> Tensor:
        """F^H M y, of which real images keep the real part."""
        return self.state(restored(_complex(self.within(y))))

    @cached_property
    def svd(self) -> Spectrum:
        """Complex images: V^H = F and the values are the mask.

        Of a real image each pair of opposite frequencies says one thing, so a value is the root of the share of the
        pair that is measured, and V is the Hartley transform.
        """
        whole = self.mask.double().expand(self.shape[1:])
        if self.shape[0] == 2:
            return Spectrum(
                whole.expand(self.shape),
                lambda x: _channels(transformed(_complex(x))),
                lambda c: _channels(restored(_complex(c))),
                self.within,
            )
        plain = torch.fft.ifftshift(whole, DIMS)
        opposite = plain.flip(DIMS).roll((1, 1), DIMS)
        values = ((plain + opposite) / 2).sqrt()[None]

        def analyze(x: Tensor) -> Tensor:
            return hartley(torch.fft.ifftshift(x, DIMS), 2)

        def synthesize(c: Tensor) -> Tensor:
            return torch.fft.fftshift(hartley(c, 2), DIMS)

        def measured(y: Tensor) -> Tensor:
            known = values.to(y)
            return torch.where(known > 0, analyze(self.adjoint(y)) / known.clamp_min(0.1), 0.0)

        return Spectrum(values, analyze, synthesize, measured)


@dataclasses.dataclass(frozen=True, eq=False)
class MultiCoil(KSpace):
    """y_c = M F (S_c x) of several coils, (B, coils, 2, H, W); no A^+ is known in closed form.

    Args:
        shape: (1, H, W), real images, or (2, H, W), complex ones.
        mask: bool (W,) or (H, W), frequency 0 in the middle; see `sampled_columns`.
        maps: S, complex (coils, H, W); see `birdcage`.

    Raises:
        ValueError: another shape of state, mask or maps.
    """

    shape: tuple[int, ...]
    mask: Tensor
    maps: Tensor

    def __post_init__(self) -> None:
        """Check the shapes."""
        self._check()
        if self.maps.ndim != 3 or tuple(self.maps.shape[1:]) != tuple(self.shape[1:]) or not self.maps.is_complex():
            raise ValueError(
                f"maps are {tuple(self.maps.shape)} {self.maps.dtype}; complex (coils, {self.shape[1]}, "
                f"{self.shape[2]}) are expected"
            )

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        image = self.image(x)
        return self.within(_channels(transformed(image[:, None] * self._maps(image)), 2))

    def adjoint(self, y: Tensor) -> Tensor:
        """sum_c conj(S_c) F^H M y_c."""
        images = restored(_complex(self.within(y), 2))
        return self.state((self._maps(images).conj() * images).sum(1))

    def _maps(self, image: Tensor) -> Any:
        return self.maps.to(device=image.device, dtype=image.dtype)


def _channels(x: Tensor, axis: int = 1) -> Tensor:
    """Complex numbers as two channels."""
    return torch.stack([x.real, x.imag], axis)


def _complex(x: Tensor, axis: int = 1) -> Tensor:
    """Two channels as complex numbers."""
    return torch.complex(*(part.contiguous() for part in x.unbind(axis)))
