"""Clips as states: `Sound` (samples with their rate) <-> log-mel pictures (B, 1, M, F) or waveforms (B, 1, T)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from . import mel

SILENT = 1e-4
"""A clip whose largest sample is below this (-80 dB re full scale) is silent."""
REMEMBERED = 512
"""Sounds that were decoded last; 64 kB each, beside the states that they are of."""
STATES = {"mel": (1, mel.BANDS, mel.FRAMES), "waveform": (1, mel.SAMPLES)}
"""Shapes of the two kinds of states."""


class AudioError(ValueError):
    """A sound is unusable; the message says what it is and what was expected."""


class SampleRateMismatch(AudioError):
    """Samples were taken at another rate than the states are of."""


class Sound(NamedTuple):
    """A mono waveform.

    Attributes:
        wave: samples (T,) float32 in [-1, 1].
        rate: samples a second.
    """

    wave: np.ndarray
    rate: int = mel.RATE

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.wave) / self.rate


def check(sound: Any, what: str = "sound", silence: bool = False) -> Sound:
    """The sound with samples float32.

    Args:
        sound: `Sound`, or samples (T,) of real numbers at 16 kHz.
        what: how messages call it.
        silence: silent ones pass.

    Raises:
        AudioError: no samples, another shape or type, not finite, louder than full scale, or silent.
    """
    wave, rate = (sound.wave, sound.rate) if isinstance(sound, Sound) else (sound, mel.RATE)
    array = np.asarray(wave)
    if array.dtype.kind != "f":
        raise AudioError(f"{what} has samples of type {array.dtype}; floats in [-1, 1] are expected: int16 / 32768")
    if array.ndim != 1:
        raise AudioError(
            f"{what} has shape {array.shape}; (T,) is expected, one channel: take the mean of the channels"
        )
    if not len(array):
        raise AudioError(f"{what} has no samples; at least one is expected")
    if not np.isfinite(array).all():
        raise AudioError(f"{what} has {int((~np.isfinite(array)).sum())} samples that are not finite; replace them")
    peak = float(np.abs(array).max())
    if peak > 1.001:
        raise AudioError(f"{what} reaches {peak:.3g}; samples in [-1, 1] are expected: divide by the largest")
    if peak < SILENT and not silence:
        raise AudioError(f"{what} is silent: its largest sample is {peak:.1e}; at least {SILENT} is expected")
    return Sound(array.astype(np.float32), int(rate))


def stacked(sounds: Sequence[Any], samples: int = mel.SAMPLES) -> Tensor:
    """Waveforms (B, T) float32, shorter ones with silence behind.

    Raises:
        SampleRateMismatch: another rate than 16 kHz.
        AudioError: no sound, one that is unusable (see `check`) or longer than `samples`.
    """
    if not len(sounds):
        raise AudioError("there are no sounds; pass at least one")
    waves = torch.zeros(len(sounds), samples)
    for i, one in enumerate(sounds):
        sound = check(one, f"sound {i}")
        if sound.rate != mel.RATE:
            raise SampleRateMismatch(
                f"sound {i} has {sound.rate:,} samples a second, {mel.RATE:,} are expected; use files.resample"
            )
        if len(sound.wave) > samples:
            raise AudioError(
                f"sound {i} lasts {sound.seconds:.3f} s, at most {samples / mel.RATE} s fit; cut it, or use files.fit"
            )
        waves[i, : len(sound.wave)] = torch.from_numpy(sound.wave)
    return waves


def encode(sounds: Sequence[Any], kind: str = "mel") -> Tensor:
    """States of sounds: pictures (B, 1, 64, 64) or waveforms (B, 1, 16384), in [-1, 1]; raises as `stacked`."""
    waves = stacked(sounds)
    return mel.encode(waves) if kind == "mel" else waves[:, None]


def decode(states: Tensor, kind: str = "mel") -> list[Sound | None]:
    """Sounds of states, None where one is not finite or silent.

    Pictures go through `mel.invert`, one by one, so that a sound does not depend on its batch and memory not on their
    number; the last `REMEMBERED` sounds are not made again. What is beyond full scale is `limited`.

    Raises:
        AudioError: states of another shape, or of whole numbers.
    """
    check_states(states, kind)
    clean = states.detach().float().cpu().numpy()
    waves = (_wave(row.tobytes(), kind) if np.isfinite(row).all() else None for row in clean)
    return [None if wave is None else Sound(wave.copy(), mel.RATE) for wave in waves]


@functools.lru_cache(maxsize=REMEMBERED)
def _wave(state: bytes, kind: str) -> np.ndarray | None:
    """The samples of a state, float32 numbers; None where they are silent."""
    row = torch.frombuffer(bytearray(state), dtype=torch.float32).view(1, *STATES[kind])
    wave = mel.invert(row) if kind == "mel" else row[:, 0]
    return limited(wave)[0].numpy() if wave.abs().max() >= SILENT else None


def limited(waves: Tensor, reach: int = 40) -> Tensor:
    """Waveforms (B, T) that nowhere exceed full scale: quieter within 2.5 ms of samples that do, else as they were.

    The gain is the least that is needed within `reach` samples, averaged over as many to each side.

    Args:
        waves: in the unit of full scale.
        reach: samples.
    """
    gain = 1 / waves.abs().clamp_min(1)
    if bool((gain == 1).all()):
        return waves
    needed = -functional.max_pool1d(-gain[:, None], 2 * reach + 1, 1, reach)
    window = torch.hann_window(2 * reach + 3)[1:-1].to(waves)
    padded = functional.pad(needed, (reach, reach), mode="replicate")
    smooth = functional.conv1d(padded, (window / window.sum())[None, None])[:, 0]
    return (waves * smooth).clamp(-1, 1)  # rounding


def reason(state: Tensor) -> str:
    """Why a state has no sound; empty where it has one or is merely silent."""
    return "" if bool(state.isfinite().all()) else "not finite"


def check_states(states: Tensor, kind: str = "mel") -> None:
    """Raise AudioError where states are not real numbers of the kind's shape."""
    if tuple(states.shape[1:]) != STATES[kind] or not states.is_floating_point():
        raise AudioError(
            f"states are {tuple(states.shape)} {states.dtype}; (B, {', '.join(map(str, STATES[kind]))}) "
            f"are expected of {kind} states, real numbers in [-1, 1]"
        )


@dataclasses.dataclass(frozen=True)
class SoundCodec:
    """The codec of a prior of sounds.

    Args:
        kind: of states, "mel" or "waveform".
    """

    kind: str = "mel"

    @property
    def language(self) -> str:
        """What a state's numbers are."""
        return f"{self.kind} {'x'.join(map(str, STATES[self.kind]))} at {mel.RATE} Hz"

    def encode(self, objects: Sequence[Any]) -> Tensor:
        """Sounds, or waveforms (T,) at 16 kHz, to states; see `encode`."""
        return encode(objects, self.kind)

    def decode(self, states: Tensor) -> list[Sound | None]:
        """States to sounds, None where a number is not finite or nothing is heard; see `decode`."""
        return decode(states, self.kind)
