"""Sound files: WAV, FLAC and npz in, WAV and npz out; what was changed is said, what is unusable is named."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from guidekit.extras import require
from guidekit.io.archives import npz, reason
from guidekit.io.contents import ordinary
from guidekit.io.files import write_each
from guidekit.io.reading import files_below, folder_classes, npz_classes, source

from . import mel
from .codec import SILENT, AudioError, Sound, check
from .data import FADE
from .library import functional

SOUNDS = (".wav", ".flac", ".aif", ".aiff", ".ogg")
LEAST_RATE, MOST_RATE = 1_000, 768_000
"""Samples a second that a file may have."""
MOST_CHANNELS = 32
READ_SECONDS = 2.0  # of every file, more than a clip lasts
MOST_TAPS = 4_000_000  # of the filter that changes a rate
CLIPPED = 0.01
"""Share of samples at full scale above which a file is said to be clipped."""
LOUDEST = 4.0
"""Peak, in full scales, up to which a sound is taken for one whose coder or mix went beyond it, as OGG does."""
CANCELED = 0.01
"""Share of the channels' mean power below which their mean has lost the sound."""


class Read(NamedTuple):
    """What a file or folder held.

    Attributes:
        sounds: at 16 kHz, of at most 1.024 s.
        labels: class numbers (n,) int64; None where there are none.
        classes: their names, those of sub-folders or of the array `classes`; else empty.
        skipped: (name, reason) of what could not be read.
        notes: what was changed: channels mixed, samples resampled, sounds cut.
    """

    sounds: list[Sound]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    skipped: list[tuple[str, str]]
    notes: list[str]


def read(path: str | Path, on_error: str = "raise") -> Read:
    """Read a sound, a folder of sounds (sub-folders are classes), or an npz.

    The npz has waves (n, T), int16 or floats, rate (Hz), and perhaps lengths, labels (n,) and classes.

    Args:
        path: file or folder.
        on_error: "raise" stops at the first unusable sound, "skip" lists it in `skipped`.

    Raises:
        ValueError: nothing there, another kind of file, no sound in it, or an unusable one (see on_error).
    """
    path = source(path, SOUNDS, "sounds", on_error)
    if path.is_dir():
        found = files_below(path, SOUNDS, "sounds")
        names = [file.relative_to(path).as_posix() for file in found]
        loaders = [lambda file=file, name=name: samples(file, name) for file, name in zip(found, names, strict=True)]
        return _usable(names, loaders, *folder_classes(path, found), on_error)
    if path.suffix.lower() == ".npz":
        return _npz(path, on_error)
    return _usable([path.name], [lambda: samples(path)], None, (), on_error)


def samples(path: str | Path, name: str = "") -> tuple[np.ndarray, int]:
    """The first samples (T, channels) float32 of a sound file, more than a clip has, and its rate.

    Args:
        path: of the file.
        name: for messages; that of the file where empty.

    Raises:
        AudioError: no ordinary file, a damaged one, one of another kind, or with more channels than are read.
    """
    soundfile, name = require("audio", "soundfile"), name or Path(path).name
    try:
        with soundfile.SoundFile(str(ordinary(path))) as file:
            refuse_rate(file.samplerate, name)
            if file.channels > MOST_CHANNELS:
                raise AudioError(f"{name} has {file.channels} channels; at most {MOST_CHANNELS} are mixed")
            return file.read(int(file.samplerate * READ_SECONDS), dtype="float32", always_2d=True), file.samplerate
    except AudioError:
        raise
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        why = getattr(error, "error_string", None) or reason(error)  # of libsndfile, without the path
        raise AudioError(f"{name} is damaged or no sound file ({why})") from error


def refuse_rate(rate: float, what: str) -> None:
    """Raise AudioError for a rate that no sound has, or that has no whole number of samples a second."""
    if not (LEAST_RATE <= rate <= MOST_RATE and int(rate) == rate):
        raise AudioError(
            f"{what} has a sample rate of {rate:,} Hz; whole numbers from {LEAST_RATE:,} to {MOST_RATE:,} are accepted"
        )


def resample(sound: Sound, rate: int = mel.RATE) -> Sound:
    """A sound at another rate (windowed-sinc interpolation of torchaudio).

    The filter has as many taps as the product of the reduced rates, which fills the memory for odd ones (44,101 Hz);
    their ratio is rounded to a fraction of smaller numbers, which changes pitch and length by less than 0.03 %.

    Raises:
        AudioError: a rate that no sound has.
    """
    if sound.rate == rate:
        return sound
    refuse_rate(sound.rate, "sound")
    ratio = Fraction(sound.rate, rate)
    ratio = ratio.limit_denominator(int(math.sqrt(MOST_TAPS / max(float(ratio), 1.0))))
    wave = torch.from_numpy(np.ascontiguousarray(sound.wave))
    wave = functional().resample(wave, ratio.numerator, ratio.denominator)
    return Sound(wave.numpy().clip(-1, 1), rate)


def fit(wave: np.ndarray, length: int = mel.SAMPLES) -> np.ndarray:
    """The first `length` samples of a wave, faded over the last 20 ms where something is cut off."""
    if len(wave) <= length:
        return wave
    cut = wave[:length].copy()
    cut[-FADE:] *= np.linspace(1, 0, FADE, dtype=cut.dtype)
    return cut


def ready(array: np.ndarray, rate: int, what: str) -> tuple[Sound, list[str]]:
    """A usable sound at 16 kHz of at most 1.024 s from samples (T, channels), and what was done to it.

    Raises:
        AudioError: see `codec.check`; also where the clip's beginning is silent.
    """
    done = []
    if not np.isfinite(array).all():
        raise AudioError(f"{what} has {int((~np.isfinite(array)).sum())} samples that are not finite; replace them")
    wave, told = mono(array)
    done += [told] if told else []
    peak = float(np.abs(wave).max(initial=0))
    if 1 < peak <= LOUDEST:
        done.append("made quieter, as peaks were above full scale")
        wave = wave / peak
    sound = check(Sound(wave, rate), what)
    if (np.abs(sound.wave) >= 0.999).mean() > CLIPPED:
        done.append("more than 1 % of samples are clipped")
    if rate != mel.RATE:
        done.append(f"resampled from {rate:,} to {mel.RATE:,} Hz")
        sound = resample(sound)
    if len(sound.wave) > mel.SAMPLES:
        done.append(f"cut to {mel.SAMPLES / mel.RATE} s")
        sound = Sound(fit(sound.wave), mel.RATE)
        if np.abs(sound.wave).max() < SILENT:
            raise AudioError(f"{what} is silent for {mel.SAMPLES / mel.RATE} s; cut its beginning off")
    return check(sound, what), done


def mono(array: np.ndarray) -> tuple[np.ndarray, str]:
    """One channel (T,) of samples (T, channels), and what was done: their mean, or the loudest where they cancel."""
    if array.shape[1] == 1:
        return array[:, 0], ""
    powers, mixed = np.square(array, dtype=np.float64).mean(0), array.mean(1)
    if len(array) and np.square(mixed, dtype=np.float64).mean() < CANCELED * powers.mean():
        return array[:, int(powers.argmax())], f"{array.shape[1]} channels cancel each other; the loudest was taken"
    return mixed, f"{array.shape[1]} channels were mixed"


def _usable(
    names: Sequence[str], loaders: Sequence[Any], labels: np.ndarray | None, classes: tuple[str, ...], on_error: str
) -> Read:
    """Sounds of loaders of (samples, rate); the notes say how many had what done to them."""
    sounds, kept, skipped = [], [], []
    counts: dict[str, list[str]] = {}
    for i, (name, load) in enumerate(zip(names, loaders, strict=True)):
        try:
            array, rate = load()
            sound, done = ready(array, rate, name)
        except AudioError as error:
            if on_error == "raise":
                raise
            skipped.append((name, str(error)))
            continue
        sounds.append(sound)
        kept.append(i)
        for one in done:
            counts.setdefault(one, []).append(name)
    notes = [f"{len(where)} sounds: {what} (the first: {where[0]})" for what, where in counts.items()]
    return Read(sounds, None if labels is None else labels[kept], classes, skipped, notes)


def _npz(path: Path, on_error: str) -> Read:
    arrays, held = npz(path, ("waves", "lengths", "rate", "labels", "classes"))
    waves = arrays.get("waves")
    if waves is None or "rate" not in arrays:
        raise ValueError(f"{path.name} has the arrays {held}; waves (n, T) and rate (samples a second) are needed")
    if waves.ndim != 2 or not len(waves) or waves.dtype not in (np.int16, np.float32, np.float64):
        raise AudioError(f"{path.name}: waves are {waves.shape} {waves.dtype}; (n, T) of int16 or floats is expected")
    rate, lengths = arrays["rate"], arrays.get("lengths", np.full(len(waves), waves.shape[1]))
    if rate.size != 1 or rate.dtype.kind not in "iuf":
        raise ValueError(f"{path.name}: rate is {rate.dtype} {rate.shape}; one number of samples a second is expected")
    refuse_rate(rate.item(), path.name)
    if lengths.shape != waves.shape[:1] or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"{path.name}: lengths are {lengths.shape} {lengths.dtype}; ({len(waves)},) whole numbers are expected"
        )
    if lengths.min() < 0 or lengths.max() > waves.shape[1]:
        raise ValueError(f"{path.name}: lengths from {lengths.min()} to {lengths.max()}; waves have {waves.shape[1]}")
    labels, classes = npz_classes(arrays, len(waves), path.name)
    if labels is not None and not classes:
        classes = tuple(map(str, range(int(labels.max()) + 1)))
    scale = np.float32(32768 if waves.dtype == np.int16 else 1)
    rows = [lambda i=i: (waves[i, : lengths[i], None] / scale, int(rate.item())) for i in range(len(waves))]
    return _usable([f"{path.name}, wave {i}" for i in range(len(waves))], rows, labels, classes, on_error)


def wav(sound: Sound) -> bytes:
    """A mono WAV file of 16-bit integers at the sound's rate.

    Raises:
        AudioError: see `codec.check`; silence can be written.
    """
    soundfile, stream = require("audio", "soundfile"), io.BytesIO()
    sound = check(sound, silence=True)
    soundfile.write(stream, integers(sound.wave), sound.rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def integers(wave: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as int16; 32768 is full scale, as in files."""
    return (np.asarray(wave, np.float64) * 32768).round().clip(-32768, 32767).astype(np.int16)


def write_sounds(folder: str | Path, sounds: Sequence[Sound], names: Sequence[str] | None = None) -> list[str]:
    """Write every sound as a WAV into a folder, made where it is missing; returns the file names.

    Args:
        folder: where to.
        sounds: see `wav`.
        names: of the files, without suffix; None is sample-00000 and so on.

    Raises:
        ValueError: another number of names.
    """
    return write_each(folder, sounds, wav, "sample-{:05d}.wav", names)
