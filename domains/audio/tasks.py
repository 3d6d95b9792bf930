"""Tasks on a given sound or piece: what is measured of it, see `guidekit.objectives.operators`.

    y = operator.forward(x): continuation, infill, regeneration, transition, band_infill and bandwidth of what is kept,
    declip of what a recorder that saturates gives.

Measurements are zero where nothing is measured.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidekit.objectives.operators.fourier import LowPass
from guidekit.objectives.operators.masks import Keep
from guidekit.objectives.operators.saturation import Clip
from guidekit.objectives.tasks import Task

from .mel import RATE


def _frames(shape: tuple[int, ...], first: float, last: float) -> Tensor:
    """True from a share of the time to another, (*S) with size 1 where time is not."""
    axis = {3: -1 if shape[0] == 1 else -2, 2: -1}[len(shape)]  # pictures and waveforms: last; rolls: steps
    size = shape[axis]
    index = torch.arange(size)
    inside = (index >= round(first * size)) & (index < round(last * size))
    return inside.view([size if i == axis % len(shape) else 1 for i in range(len(shape))])


def continuation(shape: tuple[int, ...], known: float | None = None) -> Task:
    """The beginning is known, a share of the time; None is a quarter (of pieces in files, see `given.going_on`)."""
    return _kept("continuation", shape, _frames(shape, _share(0.25 if known is None else known, "known"), 1.0))


def infill(shape: tuple[int, ...], first: float = 0.375, last: float = 0.625) -> Task:
    """All but a gap in the middle is known; `first` and `last` are shares of the time."""
    return _kept("infill", shape, _frames(shape, *_interval(first, last)))


def regeneration(shape: tuple[int, ...], first: float = 0.375, last: float = 0.625, start: float = 0.5) -> Task:
    """As `infill`; sampling starts from the original noised up to time `start`, so the gap keeps something of it."""
    return dataclasses.replace(infill(shape, first, last), name="regeneration", start=start)


def transition(shape: tuple[int, ...], first: float = 0.375, last: float = 0.625, start: float = 0.5) -> Task:
    """The beginning of one and the end of another are known; sampling starts from their noised cross-fade."""
    made = infill(shape, first, last)
    gap: Any = made.gap  # which every infill has
    return dataclasses.replace(made, name="transition", start=start, join=functools.partial(crossfaded, gap=gap))


def band_infill(shape: tuple[int, ...], first: float = 0.5, last: float = 1.0) -> Task:
    """Mel bands (of a picture) or pitches (of a roll) from one share of the axis to another are missing."""
    if len(shape) != 3:
        raise ValueError(f"task band_infill is of pictures and rolls (C, H, W); states here are {shape}: use bandwidth")
    low, high = _interval(first, last)
    axis = -2 if shape[0] == 1 else -1
    index = torch.arange(shape[axis])
    inside = (index >= round(low * shape[axis])) & (index < round(high * shape[axis]))
    return _kept("band_infill", shape, inside.view([1, -1, 1] if axis == -2 else [1, 1, -1]))


def declip(shape: tuple[int, ...], threshold: float = 0.3) -> Task:
    """Samples of a waveform beyond the threshold (share of full scale) were cut."""
    _waveform("declip", shape)
    return Task("declip", Clip(_share(threshold, "threshold")))


def bandwidth(shape: tuple[int, ...], cutoff: float = 2000.0) -> Task:
    """The spectrum of a waveform above the cutoff (Hz) was lost."""
    _waveform("bandwidth", shape)
    if not 0 < cutoff < 8000:
        raise ValueError(f"cutoff={cutoff} Hz; above 0 and below 8000 is expected")
    return Task("bandwidth", LowPass(shape, cutoff, RATE))


TASKS: dict[str, Callable[..., Task]] = {
    one.__name__: one for one in (continuation, infill, regeneration, transition, band_infill, declip, bandwidth)
}


def crossfaded(before: Tensor, after: Tensor, gap: Tensor) -> Tensor:
    """`before` up to a gap in time, `after` behind it, an equal-power cross-fade in it.

    Args:
        before, after: states (B, *S).
        gap: bool (*S), with size 1 where time is not.
    """
    axis = int(np.argmax(gap.shape)) - gap.ndim
    rows = gap.flatten().nonzero()[:, 0]
    angle = ((torch.arange(gap.numel()) - rows[0] + 1) / (len(rows) + 1)).clamp(0, 1) * (math.pi / 2)
    angle = angle.to(before).view([-1 if i == axis % gap.ndim else 1 for i in range(gap.ndim)])
    return angle.cos() * before + angle.sin() * after


def _kept(name: str, shape: tuple[int, ...], gap: Tensor) -> Task:
    return Task(name, Keep(~gap), gap, blank=0.0 if len(shape) == 2 else -1.0)


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
