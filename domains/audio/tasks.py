"""Tasks on a given sound or piece: what is measured of it, as an operator with the adjoint, and how a result is judged.

    y = operator.forward(x): continuation, infill, regeneration, transition, band_infill and bandwidth of what is kept,
    declip of what a recorder that saturates gives.

States are (B, *S); measurements have the same shape, zero where nothing is measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidekit.names import UnknownNameError


@dataclasses.dataclass(frozen=True)
class Keep:
    """A x = m x, with m 1 where something is known and 0 where not: linear, self-adjoint, its own pseudo-inverse.

    Args:
        mask: bool, broadcasts against states (B, *S); True is known.
    """

    mask: Tensor
    linear = True

    def forward(self, x: Tensor) -> Tensor:
        """What is kept of x (B, *S)."""
        return x * self.mask.to(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y."""
        return self.forward(y)

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y."""
        return self.forward(y)

    def paste(self, x: Tensor, y: Tensor) -> Tensor:
        """x with what is known put back exactly."""
        return torch.where(self.mask.to(x.device), y, x)


@dataclasses.dataclass(frozen=True)
class LowPass:
    """Spectrum of a waveform (B, 1, T) up to a frequency: an orthogonal projection, so self-adjoint.

    Args:
        cutoff: Hz; higher frequencies of the discrete Fourier transform over all T are lost.
        rate: samples a second.
    """

    cutoff: float
    rate: int = 16_000
    linear = True

    def forward(self, x: Tensor) -> Tensor:
        """x without what is above the cutoff."""
        spectrum = torch.fft.rfft(x)
        kept = torch.fft.rfftfreq(x.shape[-1], 1 / self.rate, device=x.device) <= self.cutoff
        return torch.fft.irfft(spectrum * kept, n=x.shape[-1])

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y."""
        return self.forward(y)

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y."""
        return self.forward(y)


@dataclasses.dataclass(frozen=True)
class Clip:
    """Samples cut at +-threshold, as by a recorder that saturates; neither linear nor with an adjoint.

    Args:
        threshold: in (0, 1), of full scale.
    """

    threshold: float
    linear = False

    def forward(self, x: Tensor) -> Tensor:
        """x cut at the threshold."""
        return x.clamp(-self.threshold, self.threshold)

    def consistency(self, x: Tensor, y: Tensor) -> Tensor:
        """Root-mean-square violation (B,): distance to y where y is not cut, what is missing beyond it where it is."""
        top, bottom = y >= self.threshold, y <= -self.threshold
        beyond = torch.where(top, (self.threshold - x).clamp_min(0), (x + self.threshold).clamp_min(0))
        return torch.where(top | bottom, beyond, x - y).square().flatten(1).mean(1).sqrt()


@dataclasses.dataclass(frozen=True)
class Task:
    """A named operator and what its result is judged on.

    Args:
        name: key in `TASKS`.
        operator: with `forward`, `linear`, and where they exist `adjoint`, `pinv`, `paste`, `consistency`.
        gap: bool, broadcasts against states: what is to be made up; None where no part is missing as a whole.
    """

    name: str
    operator: Any
    gap: Tensor | None = None

    def judge(self, x: Tensor, y: Tensor, truth: Tensor | None = None) -> dict[str, Tensor]:
        """Numbers (B,) of results x for measurements y: what was measured, and the truth where it is known.

        Returns:
            misfit: root-mean-square of y - A x; consistency: see `Clip`; snr: dB over all; snr_gap: in the gap.
        """
        found = {"misfit": (y - self.operator.forward(x)).square().flatten(1).mean(1).sqrt()}
        if hasattr(self.operator, "consistency"):
            found["consistency"] = self.operator.consistency(x, y)
        if truth is not None:
            found["snr"] = signal_to_noise(x, truth)
            if self.gap is not None:
                found["snr_gap"] = signal_to_noise(x, truth, self.gap)
        return found


@dataclasses.dataclass(frozen=True)
class Measured:
    """Likelihood of y = A(x_0) + noise_std eps for `guidekit.guidance.DPS` and gradient guidance.

    Args:
        operator: see `Task`.
        y: measurements (B, *S), or (1, *S) for all samples.
        noise_std: in the unit of the states, above 0.
    """

    operator: Any
    y: Tensor
    noise_std: float = 0.05
    differentiable = True

    def __post_init__(self) -> None:
        """Refuse a noise that is none."""
        if not self.noise_std > 0:
            raise ValueError(f"noise_std={self.noise_std}; a number above 0 is expected")

    def residual(self, x0: Tensor) -> Tensor:
        """y - A(x_0), (B, numbers)."""
        return (self.y.to(x0) - self.operator.forward(x0)).flatten(1)

    def distance(self, x0: Tensor) -> Tensor:
        """Euclidean norm of the residual, (B,)."""
        return torch.linalg.vector_norm(self.residual(x0), dim=1)

    def __call__(self, x0: Tensor) -> Tensor:
        """log p(y | x_0) in nats (B,), up to a constant."""
        return -0.5 * self.residual(x0).square().sum(1) / self.noise_std**2


def signal_to_noise(x: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """10 log10 |truth|^2 / |x - truth|^2 in dB (B,), of states (B, *S) or part of them; infinite where they agree."""
    part = torch.ones_like(truth) if where is None else where.to(truth).expand_as(truth)
    signal, error = (((one * part).square()).flatten(1).sum(1).double() for one in (truth, x - truth))
    return 10 * (signal / error).log10()


def _frames(shape: tuple[int, ...], first: float, last: float) -> Tensor:
    """True from a share of the time to another, (*S) with size 1 where time is not."""
    axis = {3: -1 if shape[0] == 1 else -2, 2: -1}[len(shape)]  # pictures and waveforms: last; rolls: steps
    size = shape[axis]
    index = torch.arange(size)
    inside = (index >= round(first * size)) & (index < round(last * size))
    return inside.view([size if i == axis % len(shape) else 1 for i in range(len(shape))])


def continuation(shape: tuple[int, ...], known: float = 0.25) -> Task:
    """The beginning is known, a share of the time."""
    return _kept("continuation", _frames(shape, _share(known, "known"), 1.0))


def infill(shape: tuple[int, ...], first: float = 0.375, last: float = 0.625) -> Task:
    """All but a gap in the middle is known; `first` and `last` are shares of the time."""
    return _kept("infill", _frames(shape, *_interval(first, last)))


def regeneration(shape: tuple[int, ...], first: float = 0.375, last: float = 0.625) -> Task:
    """As `infill`; sampling starts from the noised original instead of noise, see `start_of`."""
    return dataclasses.replace(infill(shape, first, last), name="regeneration")


def transition(shape: tuple[int, ...], first: float = 0.375, last: float = 0.625) -> Task:
    """The beginning of one and the end of another are known; see `crossfaded` for the start."""
    return dataclasses.replace(infill(shape, first, last), name="transition")


def band_infill(shape: tuple[int, ...], first: float = 0.5, last: float = 1.0) -> Task:
    """Mel bands (of a picture) or pitches (of a roll) from one share of the axis to another are missing."""
    if len(shape) != 3:
        raise ValueError(f"task band_infill is of pictures and rolls (C, H, W); states here are {shape}: use bandwidth")
    low, high = _interval(first, last)
    axis = -2 if shape[0] == 1 else -1
    index = torch.arange(shape[axis])
    inside = (index >= round(low * shape[axis])) & (index < round(high * shape[axis]))
    return _kept("band_infill", inside.view([1, -1, 1] if axis == -2 else [1, 1, -1]))


def declip(shape: tuple[int, ...], threshold: float = 0.3) -> Task:
    """Samples of a waveform beyond the threshold (share of full scale) were cut."""
    _waveform("declip", shape)
    return Task("declip", Clip(_share(threshold, "threshold")))


def bandwidth(shape: tuple[int, ...], cutoff: float = 2000.0) -> Task:
    """The spectrum of a waveform above the cutoff (Hz) was lost."""
    _waveform("bandwidth", shape)
    if not 0 < cutoff < 8000:
        raise ValueError(f"cutoff={cutoff} Hz; above 0 and below 8000 is expected")
    return Task("bandwidth", LowPass(cutoff))


TASKS: Mapping[str, Callable[..., Task]] = {
    one.__name__: one for one in (continuation, infill, regeneration, transition, band_infill, declip, bandwidth)
}


def make(name: str, shape: tuple[int, ...], **options: Any) -> Task:
    """A task by name for states of a shape (without the batch).

    Raises:
        UnknownNameError: no such task.
        ValueError: options outside their ranges, or a kind of state it is not for.
    """
    if name not in TASKS:
        raise UnknownNameError("task", str(name), TASKS)
    try:
        return TASKS[name](tuple(shape), **options)
    except TypeError as error:
        raise ValueError(f"task {name}: {error}") from error


def observe(x: Tensor, task: Task, noise_std: float = 0.0, seed: int = 0) -> Tensor:
    """Measurements (B, *S) of states x, with Gaussian noise (std in the unit of states) where something is measured."""
    y = task.operator.forward(x)
    if not noise_std:
        return y
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(y)
    return y + noise_std * (task.operator.forward(noise) if task.operator.linear else noise)


def start_of(x: Tensor, noise: Tensor, share: float) -> Tensor:
    """Start of a regeneration: sqrt(share) noise and sqrt(1 - share) of the original, so that the variance is kept."""
    share = _share(share, "share")
    return math.sqrt(share) * noise + math.sqrt(1 - share) * x


def crossfaded(before: Tensor, after: Tensor, task: Task) -> Tensor:
    """Start and context of a transition: `before` up to the gap, `after` behind it, an equal-power cross-fade in it.

    Args:
        before, after: states (B, *S).
        task: a `transition`.
    """
    if task.gap is None or task.name != "transition":
        raise ValueError(f"task {task.name} has no transition; tasks.transition makes one")
    inside = task.gap
    axis = int(np.argmax(inside.shape)) - inside.ndim
    rows = inside.flatten().nonzero()[:, 0]
    angle = ((torch.arange(inside.numel()) - rows[0] + 1) / (len(rows) + 1)).clamp(0, 1) * (math.pi / 2)
    angle = angle.to(before).view([-1 if i == axis % inside.ndim else 1 for i in range(inside.ndim)])
    return angle.cos() * before + angle.sin() * after


def _kept(name: str, gap: Tensor) -> Task:
    return Task(name, Keep(~gap), gap)


def _share(value: float, name: str) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{name}={value}; a share above 0 and below 1 is expected")
    return value


def _interval(first: float, last: float) -> tuple[float, float]:
    if not 0 <= first < last <= 1:
        raise ValueError(f"gap from {first} to {last}; shares with 0 <= first < last <= 1 are expected")
    return first, last


def _waveform(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise ValueError(
            f"task {name} is of waveforms (1, T); states here are {shape}: load domain audio with state=waveform"
        )
