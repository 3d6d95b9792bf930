"""Piano rolls: notes (n, 3) of start, length, pitch <-> states (B, 2, steps, pitches) in [-1, 1]; voices; keys.

Channel 0 tells where a note begins, channel 1 where it is held on from the step before; above 0 is yes. A step is a
sixteenth note. Notes are rows (start in steps, length in steps, MIDI pitch), in the order of start and pitch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

STEPS, LOWEST, PITCHES = 64, 31, 56
"""Sixteenths (four bars of 4/4), lowest MIDI pitch (G1) and number of pitches (up to 86, D6) of a roll."""
SHAPE = (2, STEPS, PITCHES)
NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
OTHER_NAMES = {"Db": "C#", "D#": "Eb", "Gb": "F#", "G#": "Ab", "A#": "Bb"}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
"""Semitones above the tonic of the major and of the natural minor scale."""
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
"""How well each pitch class fits a key, by its distance from the tonic (Krumhansl & Kessler 1982)."""


class RollError(ValueError):
    """Notes or rolls are unusable; the message says what they are and what was expected."""


def check(notes: Any, what: str = "piece", bounded: bool = True) -> np.ndarray:
    """Notes (n, 3) int64, sorted; voices (steps, 4) are read as such.

    Args:
        notes: (n, 3) whole numbers, or (steps, 4) with a MIDI pitch or -1 a voice, where equal neighbours are held.
        what: how messages call it.
        bounded: notes must fit a roll; False takes any start and any pitch from 0 to 127.

    Raises:
        RollError: another shape or type, no notes, or notes outside of what a roll holds.
    """
    array = np.asarray(notes)
    if array.ndim != 2 or array.shape[1] not in (3, 4) or (array.dtype.kind not in "iu" and array.size):
        raise RollError(
            f"{what} has shape {array.shape} and type {array.dtype}; whole numbers are expected: notes (n, 3) as "
            "start, length, pitch, or voices (steps, 4) as MIDI pitches with -1 for rests"
        )
    if array.shape[1] == 4:
        array = from_voices(array)
    if not len(array):
        raise RollError(f"{what} has no notes; at least one is expected")
    array = array.astype(np.int64)
    start, length, pitch = array.T
    if start.min() < 0 or length.min() < 1 or pitch.min() < 0 or pitch.max() > 127:
        raise RollError(f"{what} has a note before step 0, one shorter than a step, or a pitch outside 0 to 127")
    if bounded and (pitch.min() < LOWEST or pitch.max() >= LOWEST + PITCHES):
        raise RollError(
            f"{what} has pitches from {pitch.min()} to {pitch.max()}; {LOWEST} to {LOWEST + PITCHES - 1} fit: "
            "transpose it, or move notes by an octave"
        )
    if bounded and (start + length).max() > STEPS:
        raise RollError(
            f"{what} ends at step {(start + length).max()}; at most {STEPS} fit: cut it, with rolls.excerpts"
        )
    return array[np.lexsort((length, pitch, start))]


def from_voices(pitch: np.ndarray, attack: np.ndarray | None = None) -> np.ndarray:
    """Notes (n, 3) of voices (steps, V), MIDI pitch or -1 for a rest; one begins where `attack` says, or it changes."""
    pitch = np.asarray(pitch).astype(np.int64)
    notes = []
    for v in range(pitch.shape[1]):
        line = pitch[:, v]
        starts = np.ones(len(line), bool)
        starts[1:] = line[1:] != line[:-1]
        if attack is not None:
            starts |= np.asarray(attack)[:, v]
        begins = np.flatnonzero(starts)
        ends = np.append(begins[1:], len(line))
        sounding = line[begins] >= 0
        notes.append(np.stack([begins, ends - begins, line[begins]], 1)[sounding])
    found = np.concatenate(notes) if notes else np.zeros((0, 3), np.int64)
    return found[np.lexsort((found[:, 1], found[:, 2], found[:, 0]))]


def drawn(notes: np.ndarray, steps: int, lowest: int = 0, pitches: int = 128) -> np.ndarray:
    """Roll (2, steps, pitches) bool of notes; a note is cut where another of its pitch begins."""
    roll = np.zeros((2, steps, pitches), bool)
    for start, length, pitch in notes:
        roll[1, start : start + length, pitch - lowest] = True
    roll[0, notes[:, 0], notes[:, 2] - lowest] = True
    roll[1] &= ~roll[0]
    return roll


def notes_of(roll: np.ndarray, lowest: int = LOWEST) -> tuple[np.ndarray, int]:
    """Notes (n, 3) of a roll (2, steps, pitches) bool, and how many held cells had no note; these are left out."""
    onset, held = roll
    notes: list[list[int]] = []
    ghosts = 0
    for column in np.flatnonzero(onset.any(0) | held.any(0)).tolist():
        begins = -1
        current: list[list[int]] = []
        for step in range(len(onset)):
            if onset[step, column]:
                current.append([step, 1, column + lowest])
                begins = step
            elif held[step, column] and begins >= 0:
                current[-1][1] += 1
            else:
                ghosts += bool(held[step, column])
                begins = -1
        notes += current
    found = np.array(notes, np.int64).reshape(-1, 3)
    return found[np.lexsort((found[:, 1], found[:, 2], found[:, 0]))], ghosts


def merged(notes: np.ndarray) -> np.ndarray:
    """Notes as a roll keeps them: voices in unison are one note, and a note ends where another of its pitch begins."""
    return notes_of(drawn(notes, int((notes[:, 0] + notes[:, 1]).max())), 0)[0]


def encode(pieces: Sequence[Any]) -> Tensor:
    """Pieces to states (B, 2, 64, 56) float32, -1 or 1; see `merged` for what is lost.

    Raises:
        RollError: no piece, or one that does not fit, see `check`.
    """
    if not len(pieces):
        raise RollError("there are no pieces; pass at least one")
    made = [drawn(check(piece, f"piece {i}"), STEPS, LOWEST, PITCHES) for i, piece in enumerate(pieces)]
    return torch.from_numpy(np.stack(made)).float() * 2 - 1


def decode(states: Tensor) -> list[np.ndarray | None]:
    """Notes of states (B, 2, 64, 56), None where a number is not finite or there is no note."""
    return [notes if why == "" else None for notes, why, _ in judged(states)]


def judged(states: Tensor) -> list[tuple[np.ndarray, str, int]]:
    """Notes of every state, why it is no piece (empty where it is one), and cells held without a note.

    Raises:
        RollError: states of another shape, or of whole numbers.
    """
    check_states(states)
    finite = states.flatten(1).isfinite().all(1).tolist()
    rolls = (states.detach() > 0).cpu().numpy()
    result = []
    for good, roll in zip(finite, rolls, strict=True):
        notes, ghosts = notes_of(roll)
        result.append((notes, "not finite" if not good else "no notes" if not len(notes) else "", ghosts))
    return result


@dataclasses.dataclass(frozen=True)
class RollCodec:
    """The codec of piano rolls."""

    @property
    def language(self) -> str:
        """What a state's cells are."""
        return f"piano rolls {'x'.join(map(str, SHAPE))} from pitch {LOWEST}"

    def encode(self, objects: Sequence[Any]) -> Tensor:
        """Notes (n, 3), or voices (steps, 4), to states; see `encode`."""
        return encode(objects)

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """States to notes, None where a number is not finite or there is no note."""
        return decode(states)


def check_states(states: Tensor) -> None:
    """Raise RollError where states are not real numbers (B, 2, 64, 56)."""
    if tuple(states.shape[1:]) != SHAPE or not states.is_floating_point():
        raise RollError(
            f"states have shape {tuple(states.shape)} and type {states.dtype}; (B, {', '.join(map(str, SHAPE))}) of "
            "real numbers in [-1, 1] is expected"
        )


def excerpts(notes: np.ndarray, every: int = 16) -> list[np.ndarray]:
    """Excerpts of 64 steps, one every so many and one at the end; notes are cut at their borders."""
    total = int((notes[:, 0] + notes[:, 1]).max())
    starts = sorted({*range(0, max(total - STEPS, 0) + 1, every), max(total - STEPS, 0)})
    found = []
    for first in starts:
        begin = np.maximum(notes[:, 0], first)
        end = np.minimum(notes[:, 0] + notes[:, 1], first + STEPS)
        part = np.stack([begin - first, end - begin, notes[:, 2]], 1)[end > begin]
        if len(part):
            found.append(part[np.lexsort((part[:, 1], part[:, 2], part[:, 0]))])
    return found


def transposed(notes: np.ndarray, semitones: int) -> np.ndarray:
    """Notes moved up by so many semitones."""
    return notes + np.array([0, 0, semitones])


def histogram(notes: np.ndarray) -> np.ndarray:
    """Steps that each pitch class sounds, (12,) float64, C first."""
    return np.bincount(notes[:, 2] % 12, notes[:, 1], 12)


def key(notes: np.ndarray) -> tuple[int, str]:
    """Tonic (0 = C) and mode of notes: where the correlation of their pitch classes with the profile is largest.

    Source: Krumhansl 1990, the key-finding algorithm.
    """
    classes = histogram(notes)
    best = [
        (np.corrcoef(classes, np.roll(profile, tonic))[0, 1] if classes.std() else 0.0, -tonic, mode)
        for mode, profile in PROFILES.items()
        for tonic in range(12)
    ]
    _, tonic, mode = max(best)
    return -tonic, mode


def to_c(notes: np.ndarray) -> int:
    """Semitones that bring notes to C major or A minor: -6 to 5, or an octave off where only that fits a roll."""
    tonic, mode = key(notes)
    least = (-tonic + (9 if mode == "minor" else 0) + 6) % 12 - 6
    low, high = notes[:, 2].min() - LOWEST, notes[:, 2].max() - LOWEST
    return next((s for s in (least, least - 12, least + 12) if low + s >= 0 and high + s < PITCHES), least)


def named_key(scale: str) -> tuple[int, str]:
    """Tonic (0 = C) and mode of a scale's name, such as "C major", "F# minor".

    Raises:
        ValueError: it cannot be read.
    """
    tonic, _, mode = str(scale).strip().partition(" ")
    tonic = OTHER_NAMES.get(tonic, tonic)
    if tonic not in NAMES or mode not in SCALES:
        raise ValueError(f"scale {scale!r}; a tonic and a mode are expected, such as 'C major' or 'F# minor'")
    return NAMES.index(tonic), mode


def pitch_classes(scale: str) -> tuple[int, ...]:
    """Pitch classes of a scale, see `named_key`."""
    tonic, mode = named_key(scale)
    return tuple(sorted((tonic + step) % 12 for step in SCALES[mode]))
