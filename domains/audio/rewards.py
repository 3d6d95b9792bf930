"""Rewards of sounds; higher is better. Those of states take log-mel pictures or waveforms and have a gradient."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
from torch import Tensor

from guidekit.objectives.of_states import StateReward
from guidekit.objectives.window import Window, Windowed, outside, refuse_empty

from . import codec, mel
from .by_reference import Timbre
from .codec import Sound

QUIET = 1e-8
"""Power, re a full-scale sine, that is added so that silence has a level: -80 dB."""


def powers(states: Tensor) -> Tensor:
    """Power in mel bands (B, 64, 64) of pictures (B, 1, 64, 64) or waveforms (B, 1, 16384); differentiable."""
    return mel.to_powers(states) if states.ndim == 4 else mel.power(states[:, 0])


class SoundReward(StateReward):
    """Base: a reward of pictures or waveforms."""

    shapes = tuple(codec.STATES.values())


@dataclasses.dataclass(frozen=True, eq=False)
class Centroid(SoundReward, Windowed):
    """Spectral centroid in a window: minus the distance to [low, high], in octaves.

    The centroid is the mean frequency of the bands, weighted by their power over the whole clip: low for dull sounds.

    Args:
        low, high: Hz, above 0.
    """

    low: float = 200.0
    high: float = 400.0
    name: ClassVar[str] = "centroid"
    temperature = 0.2

    def __post_init__(self) -> None:
        refuse_empty(self.low, self.high, (0.0, mel.RATE / 2), "a frequency in Hz")
        if not self.low > 0:
            raise ValueError(f"low={self.low} Hz; a frequency above 0 is expected")

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        low, high = np.log2([self.low, self.high]).tolist()
        return outside(centroids(powers(states)).log2(), low, high)


def centroids(powers: Tensor) -> Tensor:
    """Spectral centroids (B,) in Hz of powers in mel bands (B, M, F)."""
    law = powers.sum(2) + QUIET
    return (law * mel.centres().to(law)).sum(1) / law.sum(1)


@dataclasses.dataclass(frozen=True, eq=False)
class Loudness(SoundReward, Windowed):
    """Level in a window: minus the distance to [low, high], in dB.

    The level is that of the mean power over the clip's 1.024 s, in dB re a full-scale sine.

    Args:
        low, high: dB, at most about 0.
    """

    low: float = -20.0
    high: float = -14.0
    name: ClassVar[str] = "loudness"
    temperature = 2.0

    def __post_init__(self) -> None:
        refuse_empty(self.low, self.high, (mel.FLOOR, 3.0), "a level in dB re a full-scale sine")

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return outside(levels(states), self.low, self.high)


def levels(states: Tensor) -> Tensor:
    """Levels (B,) in dB re a full-scale sine, of pictures or waveforms.

    A Hann window spreads the power of a sine over bins that add up to 1.5 times it. In pictures, what is below the
    lowest band (48 Hz) counts less, by up to 6 dB for the deepest drums.
    """
    wave = states.ndim == 3
    mean = 2 * states[:, 0].square().mean(1) if wave else mel.to_powers(states).sum(1).mean(1) / 1.5
    return 10 * (mean + QUIET).log10()


def envelope(sound: Sound, seconds: float = 0.008) -> np.ndarray:
    """Root-mean-square of consecutive stretches of a sound, the last one filled up with silence."""
    size = max(1, round(seconds * sound.rate))
    padded = np.pad(sound.wave, (0, -len(sound.wave) % size))
    return np.sqrt((padded.reshape(-1, size).astype(np.float64) ** 2).mean(1))


def onset_times(sound: Sound, rise: float = 9.0, gap: float = 0.05, quiet: float = -45.0) -> np.ndarray:
    """Seconds at which a sound begins anew: where its level rises by `rise` dB within 16 ms.

    Args:
        sound: the sound.
        rise: dB.
        gap: least time between onsets, seconds.
        quiet: what is below so many dB re the loudest stretch is no sound.
    """
    size = max(1, round(0.008 * sound.rate)) / sound.rate
    loud = envelope(sound)
    level = 20 * np.log10(np.maximum(loud / max(loud.max(), 1e-9), 10 ** (quiet / 20)))
    before = np.concatenate([[quiet, quiet], level])[: len(level)]
    times: list[float] = []
    for i in np.flatnonzero(level - before >= rise):
        if not times or i * size - times[-1] >= gap:
            times.append(i * size)
    return np.array(times)


def sounding(sound: Sound, quiet: float = -40.0) -> float:
    """Seconds from the beginning to the last 8 ms that are above so many dB re the loudest ones."""
    loud = envelope(sound)
    last = np.flatnonzero(loud >= loud.max() * 10 ** (quiet / 20))[-1]
    return float(min((last + 1) * max(1, round(0.008 * sound.rate)) / sound.rate, sound.seconds))


@dataclasses.dataclass(frozen=True)
class Onsets(Window):
    """Number of onsets in a window, minus the distance; a black box, see `onset_times`."""

    low: float = 2.0
    high: float = 4.0
    name: ClassVar[str] = "onsets"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    temperature: ClassVar[float] = 0.5

    def measure(self, thing: Sound) -> float:
        """Onsets of a sound."""
        return float(len(onset_times(thing)))


@dataclasses.dataclass(frozen=True)
class Duration(Window):
    """Time until a sound has faded by 40 dB in a window of seconds, minus the distance; a black box."""

    low: float = 0.1
    high: float = 0.3
    name: ClassVar[str] = "duration"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    temperature: ClassVar[float] = 0.05

    def measure(self, thing: Sound) -> float:
        """See `sounding`."""
        return sounding(thing)


REWARDS: dict[str, type] = {reward.name: reward for reward in (Centroid, Loudness, Onsets, Duration, Timbre)}
