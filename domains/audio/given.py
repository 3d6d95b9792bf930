"""Pieces that a task is about: brought to the key of the prior and back, and kept as a whole where they go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from . import midi, rolls
from .rolls import LOWEST, PITCHES, STEPS, RollError
from .timing import Timing

MOST_KNOWN = 0.5
"""Share of a roll that is given to go on from, where nobody says another: a longer memory leaves less room."""


@dataclasses.dataclass(frozen=True, eq=False)
class GivenCodec:
    """Between pieces of any length and key and rolls of a window of them, in C major or A minor.

    Args:
        semitones: by which a piece is moved up to the prior's key.
        start: step of a piece at which the window begins.
        size: steps of the window that count; what a roll has behind them is left out.
        kept: notes (n, 3) of a piece that goes on: all objects begin with them, as they are; None where an object is
            what the window has.
        known: steps of the window that hold what was given.
        timing: tempo and meter, with which objects are written.
    """

    semitones: int
    start: int = 0
    size: int = STEPS
    kept: np.ndarray | None = None
    known: int = 0
    timing: Timing = Timing()

    @property
    def language(self) -> str:
        """What a state's cells are."""
        return rolls.RollCodec().language

    def encode(self, objects: Sequence[Any]) -> Tensor:
        """Whole pieces, notes (n, 3), to states (B, 2, 64, 56) of the window.

        Raises:
            RollError: there is nothing in the window, or its notes do not fit a roll.
        """
        found = []
        for i, piece in enumerate(objects):
            notes = window(rolls.check(piece, f"piece {i}", bounded=False), self.start, self.size)
            if not len(notes):
                raise RollError(f"piece {i} has no notes from step {self.start} to {self.start + self.size}")
            found.append(rolls.transposed(notes, self.semitones))
        return rolls.encode(found)

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """States to pieces, None where a number is not finite or there is no note."""
        return [notes if why == "" else None for notes, why, _ in self.judged(states)]

    def judged(self, states: Tensor) -> list[tuple[np.ndarray, str, int]]:
        """See `rolls.judged`; notes that go on from what was given begin behind it."""
        found = rolls.judged(states)
        if self.kept is None:
            return [(rolls.transposed(notes, -self.semitones), why, ghosts) for notes, why, ghosts in found]
        return [(self._whole(notes), why if why == "not finite" else "", ghosts) for notes, why, ghosts in found]

    def _whole(self, notes: np.ndarray) -> np.ndarray:
        """What was given, with the notes of a roll (n, 3) that begin behind it."""
        new = notes[(notes[:, 0] >= self.known) & (notes[:, 0] < self.size)]
        new[:, 1] = np.minimum(new[:, 1], self.size - new[:, 0])
        return np.concatenate([self.kept, new + np.array([self.start, 0, -self.semitones])])


def window(notes: np.ndarray, start: int, size: int = STEPS) -> np.ndarray:
    """What sounds in some steps of a piece, notes (n, 3) from their first one on; notes are cut at the borders."""
    begin, end = np.maximum(notes[:, 0], start), np.minimum(notes[:, 0] + notes[:, 1], start + size)
    part = np.stack([begin - start, end - begin, notes[:, 2]], 1)[end > begin]
    return part[np.lexsort((part[:, 1], part[:, 2], part[:, 0]))]


def going_on(score: midi.Score, known: float | None = None) -> GivenCodec:
    """The codec of what goes on from a whole piece: its last bars are the beginning of the window.

    Args:
        score: the piece.
        known: most of the window that it may take, a share of 64 steps; None is `MOST_KNOWN`.
    """
    notes, bar, origin = score.notes, score.timing.bar, score.timing.origin
    end, most = int((notes[:, 0] + notes[:, 1]).max()), max(1, round((known or MOST_KNOWN) * STEPS))
    first = max(0, end - most)
    at_bar = first - (first - origin) % bar
    fits = [at for at in (at_bar, at_bar + bar) if 0 <= at < end and end - at < STEPS and len(window(notes, at))]
    start = fits[0] if fits else first
    last = (start + STEPS - origin) // bar * bar + origin  # bar that begins in the window
    size = last - start if last > end else STEPS
    return GivenCodec(_semitones(notes, window(notes, start)), start, size, notes, end - start, score.timing)


def opening(score: midi.Score) -> GivenCodec:
    """The codec of the first 64 steps of a piece, from the bar on in which it begins."""
    bar, first = score.timing.bar, int(score.notes[:, 0].min())
    start = first // bar * bar
    timing = score.timing.since(start)
    return GivenCodec(_semitones(score.notes, window(score.notes, start)), start, timing=timing)


def spoken(score: midi.Score, codec: GivenCodec) -> str:
    """What is kept, in words."""
    tonic, mode = rolls.key(score.notes)
    moved = f", moved by {codec.semitones:+d} semitones for the prior and back" if codec.semitones else ""
    told = f"{score.timing}; {rolls.NAMES[tonic]} {mode}{moved}"
    if codec.kept is not None:
        told += (
            f"; all {len(codec.kept)} notes ({codec.start + codec.known} sixteenths) are kept, and "
            f"{codec.size - codec.known} sixteenths go on from the last {codec.known}"
        )
    elif (end := int((score.notes[:, 0] + score.notes[:, 1]).max())) > codec.start + codec.size or codec.start:
        told += f"; sixteenths {codec.start + 1} to {codec.start + codec.size} of {end} are taken"
    if codec.timing.bar != 16:
        told += f"; bars of {codec.timing.bar} sixteenths, where the shipped prior learned from excerpts in steps of 16"
    return told


def _semitones(notes: np.ndarray, shown: np.ndarray) -> int:
    """Semitones that bring notes to C major or A minor, in the octave in which those shown fit a roll."""
    least = rolls.to_c(notes)
    low, high = int(shown[:, 2].min()) - LOWEST, int(shown[:, 2].max()) - LOWEST
    fits = [s for s in (least, least - 12, least + 12) if low + s >= 0 and high + s < PITCHES]
    return fits[0] if fits else least
