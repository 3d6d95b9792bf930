"""Files for `guidekit examples`: sounds and pieces, made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from guidekit.examples import MADE, Example

from .codec import Sound
from .files import wav, write_sounds
from .midi import encoded

CHORDS = ((50, 57, 62, 66), (43, 59, 62, 67), (45, 57, 61, 64), (50, 57, 62, 66))
"""Tonic, subdominant, dominant, tonic of D major as MIDI pitches, bass to alto."""
MELODY = (74, 76, 78, 74, 79, 78, 76, 74, 73, 71, 69, 73, 74, 78, 74, 74)
"""A quarter note each, a bar of four to a chord."""


def hit(generator: np.random.Generator, tone: float, rate: int = 16000, seconds: float = 0.6) -> Sound:
    """A decaying sine among decaying noise.

    Args:
        generator: of pitch, decay and noise.
        tone: share of the sine, 0 to 1.
        rate: samples a second.
        seconds: duration.
    """
    time = np.arange(round(rate * seconds)) / rate
    sine = np.sin(2 * np.pi * generator.uniform(90, 220) * time) * np.exp(-time * generator.uniform(6, 14))
    noise = generator.standard_normal(len(time)) * np.exp(-time * generator.uniform(15, 40))
    wave = tone * sine + (1 - tone) * 0.3 * noise
    return Sound((0.7 * wave / np.abs(wave).max()).astype(np.float32), rate)


def sounds(path: Path, count: int = 30) -> None:
    """A folder of sounds for each of two classes."""
    generator = np.random.default_rng(0)
    for name, tone in (("drum", 0.9), ("noise", 0.1)):
        write_sounds(path / name, [hit(generator, tone) for _ in range(count)])


def piece() -> np.ndarray:
    """Notes (n, 3) of eight bars in D major: a melody over held chords, twice."""
    found = []
    for bar in range(8):
        found += [(16 * bar, 16, pitch) for pitch in CHORDS[bar % 4]]
        found += [(16 * bar + 4 * i, 4, MELODY[4 * (bar % 4) + i]) for i in range(4)]
    return np.array(found)


EXAMPLES = (
    Example(
        "sound.wav",
        "a drum at 44.1 kHz",
        "guidekit sample domain=audio task=infill task.input=sound.wav guidance=dps num_samples=4 output=filled",
        MADE,
        lambda path: path.write_bytes(wav(hit(np.random.default_rng(1), 0.8, 44100))),
    ),
    Example(
        "sounds",
        "folders of 30 drums and 30 noises",
        "guidekit train domain=audio data=sounds trainer.validation=6 output=sounds.safetensors",
        MADE,
        sounds,
    ),
)

PIECES = (
    Example(
        "piece.mid",
        "eight bars in D major, a melody over chords",
        "guidekit sample domain=chorales task=continuation task.input=piece.mid guidance=replacement num_samples=4",
        MADE,
        lambda path: path.write_bytes(encoded(piece(), tempo=96.0)),
    ),
)
