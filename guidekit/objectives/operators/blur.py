"""Blurs: circular ones with singular values, those with reflected borders, a nonlinear one; Gaussian and motion."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from guidekit.objectives.operators.base import Linear, Operator, Spectrum
from guidekit.objectives.operators.resampling import Separable, gaussian_rows
from guidekit.objectives.operators.shapes import fits, space
from guidekit.objectives.operators.transforms import hartley

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def gaussian_blur(shape: Sequence[int], std: float = 3.0) -> Separable:
    """A Gaussian of standard deviation `std` pixels along every axis in space, cut at 4 of them, borders reflected.

    Raises:
        ValueError: a deviation that is not above 0.
    """
    _positive(std, "std")
    return Separable(tuple(shape), tuple(gaussian_rows(n, std) for n in space(shape, (1, 2, 3), "a blur")))


def gaussian_kernel(std: float, axes: int = 2) -> Tensor:
    """A Gaussian of deviation `std` pixels cut at 4 of them, of odd sides and sum 1, float64."""
    reach = max(1, math.ceil(4 * _positive(std, "std")))
    d = torch.arange(-reach, reach + 1).double()
    made = torch.stack(torch.meshgrid(*[d] * axes, indexing="ij")).square().sum(0).div(-2 * std**2).exp()
    return made / made.sum()


def motion_kernel(size: int = 61, intensity: float = 0.5, seed: int = 0) -> Tensor:
    """What a hand that shakes draws while the shutter is open, (size, size) float64 of sum 1, its middle in the middle.

    A point moves at constant speed over about the size of the kernel; it turns by a random walk of angles, sometimes
    sharply.

    Args:
        size: odd side, pixels.
        intensity: of the turns, 0 (a straight line) to 1.
        seed: of the path.

    Raises:
        ValueError: an even side or one below 3, or an intensity out of range.

    Source: after the generator of Boracchi & Foi 2012, doi:10.1109/TIP.2012.2192126.
    """
    if not isinstance(size, int) or size < 3 or size % 2 == 0:
        raise ValueError(f"size={size}; an odd whole number from 3 is expected")
    if not 0 <= intensity <= 1:
        raise ValueError(f"intensity={intensity}; a number from 0 to 1 is expected")
    source, steps = torch.Generator().manual_seed(seed), 32 * size
    small = torch.randn(steps, generator=source, dtype=torch.float64) * intensity * math.pi / math.sqrt(steps)
    sharp = torch.rand(steps, generator=source, dtype=torch.float64) < 3 * intensity / steps
    turns = torch.where(sharp, (torch.rand(steps, generator=source, dtype=torch.float64) - 0.5) * math.pi, small)
    angle = torch.rand(1, generator=source, dtype=torch.float64) * 2 * math.pi + turns.cumsum(0)
    path = torch.stack([angle.sin(), angle.cos()]).cumsum(1) * (0.8 * (size - 1) / steps)
    low, high = path.amin(1, keepdim=True), path.amax(1, keepdim=True)
    path = path - (low + high) / 2 + (size - 1) / 2
    kernel, corner = torch.zeros(size, size, dtype=torch.float64), path.floor()
    part = path - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (part[0] if dy else 1 - part[0]) * (part[1] if dx else 1 - part[1])
            rows, columns = ((corner[axis] + step).long().clamp(0, size - 1) for axis, step in ((0, dy), (1, dx)))
            kernel.index_put_((rows, columns), weight, accumulate=True)
    return kernel / kernel.sum()


@dataclasses.dataclass(frozen=True, eq=False)
class CircularBlur(Linear):
    """Convolution of every channel with a kernel, borders joined to the opposite ones; diagonal in Fourier space.

    Args:
        shape: S, (C, *space).
        kernel: of odd sides, at most those of the state, with as many axes as there are in space.

    Raises:
        ValueError: a kernel that does not fit.
    """

    shape: tuple[int, ...]
    kernel: Tensor

    def __post_init__(self) -> None:
        """Refuse kernels that do not fit."""
        _check_kernel(self.shape, self.kernel, spare=0)

    @property
    def axes(self) -> int:
        """In space."""
        return len(self.shape) - 1

    @cached_property
    def response(self) -> Tensor:
        """The kernel's Fourier transform, complex (*space)."""
        whole = torch.zeros(self.shape[1:], dtype=torch.float64)
        whole[tuple(slice(n) for n in self.kernel.shape)] = self.kernel.double().cpu()
        dims = tuple(range(self.axes))
        return torch.fft.fftn(whole.roll([-(n // 2) for n in self.kernel.shape], dims))

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return self._filtered(fits(x, self.shape, "the blur"), self.response)

    def adjoint(self, y: Tensor) -> Tensor:
        """The same with the kernel turned around."""
        return self._filtered(y, self.response.conj())

    @cached_property
    def svd(self) -> Spectrum:
        """Values are the sizes of the kernel's frequencies, V the Hartley transform, (C, *space)."""
        values = self.response.abs().expand(self.shape)

        def measured(y: Tensor) -> Tensor:
            known = values.to(y) > 1e-12 * values.max()
            return torch.where(known, hartley(self.adjoint(y), self.axes) / values.to(y).clamp_min(1e-300), 0.0)

        def transformed(x: Tensor) -> Tensor:
            return hartley(x, self.axes)

        return Spectrum(values, transformed, transformed, measured)

    def _filtered(self, x: Tensor, response: Tensor) -> Tensor:
        dims = tuple(range(-self.axes, 0))
        found = torch.fft.fftn(x, dim=dims)
        return torch.fft.ifftn(found * response.to(device=found.device, dtype=found.dtype), dim=dims).real


@dataclasses.dataclass(frozen=True, eq=False)
class ReflectedBlur(Linear):
    """Convolution of every channel with a kernel, borders mirrored; the adjoint comes by differentiation.

    Args:
        shape: S, (C, *space).
        kernel: of odd sides, half of which are smaller than those of the state, one axis for each in space.

    Raises:
        ValueError: a kernel that does not fit.
    """

    shape: tuple[int, ...]
    kernel: Tensor

    def __post_init__(self) -> None:
        """Refuse kernels that do not fit."""
        _check_kernel(self.shape, self.kernel, spare=None)

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return _reflected(fits(x, self.shape, "the blur"), self.kernel)


@dataclasses.dataclass(frozen=True, eq=False)
class NonlinearBlur(Operator):
    """(blur(x^gamma))^(1 / gamma) of pixels in [0, 1]: light is added up before a camera bends its brightness.

    A formula in place of the learned blurs of published figures, which need a network.

    Args:
        shape: S, (C, *space).
        kernel: of the light, borders mirrored.
        gamma: above 0.

    Raises:
        ValueError: a kernel that does not fit, or a gamma that is not above 0.
    """

    shape: tuple[int, ...]
    kernel: Tensor
    gamma: float = 2.2

    def __post_init__(self) -> None:
        """Refuse what does not fit."""
        _check_kernel(self.shape, self.kernel, spare=None)
        _positive(self.gamma, "gamma")

    def forward(self, x: Tensor) -> Tensor:
        """What is measured of x; numbers below 0.001 count as that, where the power has no slope."""
        light = fits(x, self.shape, "the blur").clamp_min(1e-3) ** self.gamma
        return _reflected(light, self.kernel) ** (1 / self.gamma)


def _reflected(x: Tensor, kernel: Tensor) -> Tensor:
    """Every channel convolved, borders mirrored."""
    axes = kernel.ndim
    flat = x.reshape(-1, 1, *x.shape[2:])
    pads = [n // 2 for n in reversed(kernel.shape) for _ in (0, 1)]
    padded = functional.pad(flat, pads, mode="reflect")
    flipped = kernel.flip(tuple(range(axes))).to(x)[None, None]
    return CONVOLUTIONS[axes](padded, flipped).reshape(x.shape)


def _check_kernel(shape: Sequence[int], kernel: Tensor, spare: int | None) -> None:
    sizes = space(shape, (1, 2, 3), "a blur")
    odd = kernel.ndim == len(sizes) and all(n % 2 for n in kernel.shape)
    if not odd or any(k > n if spare is not None else k // 2 >= n for k, n in zip(kernel.shape, sizes, strict=True)):
        raise ValueError(f"a kernel {tuple(kernel.shape)} does not fit states {tuple(shape)}: odd sides within them")
    if not bool(kernel.isfinite().all()):
        raise ValueError("the kernel has numbers that are not finite")


def _positive(value: float, name: str) -> float:
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name}={value}; a number above 0 is expected")
    return float(value)
