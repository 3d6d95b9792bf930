"""Vorticity of a two-dimensional viscous flow, seen on a coarse grid some time later: a pseudo-spectral solver."""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from guidekit.objectives.operators.base import Operator


@dataclasses.dataclass(frozen=True, eq=False)
class Flow:
    """d w / d t + u . grad w = viscosity laplacian w + forcing, div u = 0, on the torus [0, 2 pi]^2.

    Advection and forcing by Heun's method, viscosity by Crank-Nicolson's, products cut at two thirds of the wave
    numbers along each axis; stable for about |u| dt < 0.4 grid spacings. x is the last axis, y the one before;
    w = dv/dx - du/dy in 1/s for lengths in m.

    Args:
        size: n grid points a side, even.
        viscosity: m^2/s.
        forcing: amplitude of the curl of a force, forcing cos(wave y), in 1/s^2.
        wave: whole waves of the forcing along y.

    Raises:
        ValueError: an odd size, a viscosity not above 0, or a forcing of more waves than are kept.
    """

    size: int = 64
    viscosity: float = 1 / 100
    forcing: float = -4.0
    wave: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be solved."""
        if self.size < 4 or self.size % 2:
            raise ValueError(f"a flow of {self.size} points a side; an even number from 4 is needed")
        if not self.viscosity > 0:
            raise ValueError(f"viscosity={self.viscosity:g}; a number above 0 is needed")
        if self.forcing and not 0 < self.wave < self.size / 3:
            raise ValueError(f"wave={self.wave}; {self.size} points a side carry 1 to {math.ceil(self.size / 3) - 1}")

    @cached_property
    def _waves(self) -> tuple[Tensor, Tensor]:
        """Wave numbers along y (n, 1) and x (1, n / 2 + 1), float64."""
        ky = torch.fft.fftfreq(self.size, 1 / self.size, dtype=torch.float64)[:, None]
        return ky, torch.arange(self.size // 2 + 1, dtype=torch.float64)[None]

    @cached_property
    def _kept(self) -> Tensor:
        ky, kx = self._waves
        return (ky.abs() < self.size / 3) & (kx < self.size / 3)

    @cached_property
    def _moving(self) -> Tensor:
        ky, kx = self._waves
        return self._kept & ((ky != 0) | (kx != 0))

    @cached_property
    def _forced(self) -> Tensor:
        """Coefficients of the forcing."""
        y = torch.arange(self.size, dtype=torch.float64) * (2 * math.pi / self.size)
        return torch.fft.rfft2(self.forcing * (self.wave * y).cos()[:, None].expand(self.size, self.size))

    @cached_property
    def _factors(self) -> Tensor:
        """Of the coefficients of w in those of u, v, dw/dx and dw/dy, (4, 1, n, n / 2 + 1), complex128."""
        ky, kx = torch.broadcast_tensors(*self._waves)
        square = ky**2 + kx**2
        square = square.masked_fill(square == 0, 1.0)  # laplacian psi = -w; u = dpsi/dy, v = -dpsi/dx
        return 1j * torch.stack([ky / square, -kx / square, kx, ky])[:, None]

    def velocity(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """(u, v), each (B, n, n) in m/s, of the vorticity with coefficients (B, n, n / 2 + 1)."""
        u, v = self._grid(self._factors[:2].to(coefficients) * coefficients)
        return u, v

    def rate(self, coefficients: Tensor) -> Tensor:
        """Coefficients of forcing - u . grad w."""
        carried: Tensor = _Carried.apply(coefficients, self._factors.to(coefficients))  # type: ignore[no-untyped-call]
        return self._forced.to(coefficients) - self._kept.to(coefficients.device) * carried

    def step(self, coefficients: Tensor, dt: Tensor | float) -> Tensor:
        """Coefficients (B, n, n / 2 + 1) after dt, a number or (B, 1, 1): Heun and Crank-Nicolson."""
        ky, kx = (k.to(coefficients.real) for k in self._waves)
        half = 0.5 * dt * self.viscosity * (ky**2 + kx**2)
        now = self.rate(coefficients)
        guess = ((1 - half) * coefficients + dt * now) / (1 + half)
        return ((1 - half) * coefficients + 0.5 * dt * (now + self.rate(guess))) / (1 + half)

    def start(self, w: Tensor) -> Tensor:
        """Coefficients of vorticity (B, n, n), its mean and the wave numbers that are not kept left out."""
        return torch.fft.rfft2(w) * self._moving.to(w.device)

    def _grid(self, coefficients: Tensor) -> Tensor:
        return torch.fft.irfft2(coefficients, s=(self.size, self.size))

    def evolve(self, w: Tensor, time: float, dt: float) -> Tensor:
        """Vorticity (B, n, n) after `time` seconds of equal steps of at most dt; differentiable.

        Gradients keep about sqrt(steps) states and compute the others again.
        """
        steps = max(1, math.ceil(time / dt - 1e-9))
        block = math.ceil(math.sqrt(steps)) if torch.is_grad_enabled() and w.requires_grad else steps
        found = self.start(w)
        for first in range(0, steps, block):
            few = min(block, steps - first)
            if block == steps:
                found = self._steps(found, time / steps, few)
            else:
                found = checkpoint(self._steps, found, time / steps, few, use_reentrant=False)
        return self._grid(found)

    def _steps(self, coefficients: Tensor, dt: float, count: int) -> Tensor:
        for _ in range(count):
            coefficients = self.step(coefficients, dt)
        return coefficients

    @torch.no_grad()
    def evolve_adaptively(self, w: Tensor, time: float, courant: float = 0.25, longest: float = 0.02) -> Tensor:
        """Vorticity (B, n, n) after `time` seconds in steps that suit each member's own speed.

        A member's steps, and so its result, do not depend on the others: who has arrived waits. Without gradients.

        Args:
            w: (B, n, n), 1/s.
            time: seconds.
            courant: largest (|u| + |v|) dt / (grid spacing).
            longest: largest step, seconds.
        """
        found, left = self.start(w), torch.full((len(w),), time, dtype=torch.float64, device=w.device)
        spacing = 2 * math.pi / self.size
        rows = torch.arange(len(w), device=w.device)
        while len(rows):
            u, v = self.velocity(found[rows])
            fastest = (u.abs() + v.abs()).flatten(1).amax(1).double()
            dt = (courant * spacing / fastest.clamp_min(1e-12)).clamp_max(longest)
            if not bool(dt.isfinite().all() & (dt > 1e-9).all()):  # who has blown up stays what it is: not finite
                found[rows[~(dt > 1e-9)]] = math.nan
                rows = rows[dt > 1e-9]
                continue
            last = dt >= left[rows]
            dt = torch.where(last, left[rows], dt)
            found[rows] = self.step(found[rows], dt.to(w.dtype)[:, None, None])
            left[rows] -= dt
            rows = rows[~last]
        return self._grid(found)


class _Carried(torch.autograd.Function):
    """Coefficients of u . grad w, from those of w (B, n, n / 2 + 1) and the factors of u, v, dw/dx and dw/dy.

    Its gradient has as many Fourier transforms as it has; each operation by itself would take twice the time.
    """

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, factors: Tensor) -> Tensor:
        n = coefficients.shape[-2]
        parts = torch.fft.irfft2(factors * coefficients, s=(n, n))
        ctx.save_for_backward(parts, factors)
        return torch.fft.rfft2((parts[:2] * parts[2:]).sum(0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Half of a real field's coefficients stand for the others: the adjoint of rfft2 is n^2 irfft2 of them / 2.

        All but those of the first and the last wave along x, which stand for themselves.
        """
        parts, factors = ctx.saved_tensors
        n = gradient.shape[-2]
        times = torch.full_like(factors.real[0, 0, 0], 2.0)
        times[0] = times[-1] = 1.0
        back = torch.fft.irfft2(gradient / times, s=(n, n))
        found = torch.fft.rfft2(parts.roll(2, 0) * back)
        return times * (factors.conj() * found).sum(0), None


@dataclasses.dataclass(frozen=True, eq=False)
class NavierStokes(Operator):
    """Vorticity at time 0, (B, 1, n, n) in 1/s, to every `every`-th grid point of it at `time`, (B, 1, m, m).

    Args:
        flow: the fluid.
        time: seconds.
        every: grid points from one that is seen to the next.
        dt: longest step, seconds; too long a step blows up, and the result is not finite.
        black_box: forward only, in steps that suit each member, as a simulator without derivatives would be.

    Raises:
        ValueError: a time or step not above 0, or points that do not divide the grid.

    Source of the task: Zheng et al. 2024, arXiv:2409.20175, on a grid of 128 x 128 points with half the viscosity.
    """

    flow: Flow = dataclasses.field(default_factory=Flow)
    time: float = 1.0
    every: int = 2
    dt: float = 0.005
    black_box: bool = False

    def __post_init__(self) -> None:
        """Refuse times and grids that are none."""
        if not (self.time > 0 and self.dt > 0):
            raise ValueError(f"time={self.time:g} and dt={self.dt:g}; numbers above 0 are needed")
        if self.every < 1 or self.flow.size % self.every:
            raise ValueError(f"every={self.every} does not divide the {self.flow.size} points of the grid")

    @property
    def shape(self) -> tuple[int, int, int]:
        """S, of one state without the batch."""
        return (1, self.flow.size, self.flow.size)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Whether gradients go through."""
        return not self.black_box

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"states {tuple(x.shape)}; expected (B, 1, {self.flow.size}, {self.flow.size})")
        w = x[:, 0]
        if self.black_box:
            after = self.flow.evolve_adaptively(w, self.time, longest=self.dt)
        else:
            after = self.flow.evolve(w, self.time, self.dt)
        return after[:, None, :: self.every, :: self.every]


def random_vorticity(
    count: int, size: int = 64, seed: int = 0, decay: float = 4.0, scale: float = 3.0, std: float = 4.0
) -> Tensor:
    """Smooth random vorticity (count, size, size) in 1/s: a Gaussian field of spectrum (|k|^2 + scale^2)^-decay.

    Args:
        count: fields.
        size: grid points a side.
        seed: of the draws; a field depends on the seed and its number.
        decay, scale: of the spectrum.
        std: standard deviation at a point, 1/s.
    """
    ky = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)[:, None]
    kx = torch.arange(size // 2 + 1, dtype=torch.float64)[None]
    power = (ky**2 + kx**2 + scale**2) ** -decay
    power[0, 0] = 0
    full = torch.fft.irfft2(power, s=(size, size))[0, 0]  # the variance at a point of white noise filtered so
    rows = [
        torch.randn(size, size, generator=torch.Generator().manual_seed(seed * 1_000_003 + i), dtype=torch.float64)
        for i in range(count)
    ]
    white = torch.fft.rfft2(torch.stack(rows))
    return torch.fft.irfft2(white * (power / full).sqrt() * std, s=(size, size)).float()
