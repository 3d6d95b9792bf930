"""MIDI files and npz of pieces, in and out, on a grid of sixteenth notes."""

from __future__ import annotations

import bisect
import collections
import io
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from guidekit.extras import require
from guidekit.io.archives import npz, reason
from guidekit.io.contents import ordinary
from guidekit.io.files import write_each
from guidekit.io.reading import files_below, source

from . import rolls
from .rolls import RollError
from .timing import TEMPO, Timing, messages, timing

SUFFIXES = (".mid", ".midi")
TICKS = 480  # a quarter note, in files written
DRUMS = 9  # the channel (from 0) whose pitches are instruments
MOST_BYTES = 2 << 20  # of a MIDI file; some 500,000 notes
MOST_STEPS = 1 << 16
"""Sixteenths that a piece may last: more than three hours."""
OFF_GRID = 0.125
"""Sixteenths by which a note may start off the grid without being counted."""


class Read(NamedTuple):
    """What a file or folder held: pieces as notes (n, 3), (name, reason) of what could not be read, and notes on it."""

    pieces: list[np.ndarray]
    skipped: list[tuple[str, str]]
    notes: list[str]


class Score(NamedTuple):
    """A whole piece: notes (n, 3), tempo and meter, and a remark on what was changed, empty where nothing was."""

    notes: np.ndarray
    timing: Timing = Timing()
    remark: str = ""


Loader = tuple[str, Callable[[], Score]]
"""What a piece is called, and what gives it."""


def read(path: str | Path, on_error: str = "raise", whole: bool = False) -> Read:
    """Read a MIDI file, a folder of them, or an npz.

    An npz has `notes` (m, 3) with `offsets` (n + 1), or `pitch` (m, V) with `offsets` and perhaps `attack`, as voices.

    Args:
        path: file or folder.
        on_error: "raise" stops at the first unusable piece, "skip" lists it.
        whole: pieces of any length and range; False takes excerpts of 64 sixteenths, and refuses notes beyond a roll.

    Raises:
        ValueError: nothing there, another kind of file, no piece in it, or an unusable one (see on_error).
    """
    pieces, skipped, told = [], [], []
    for name, load in _loaders(source(path, SUFFIXES, "MIDI files", on_error)):
        try:
            score = _checked(load(), name)
            parts = [score.notes] if whole else rolls.excerpts(score.notes, rolls.STEPS)
            pieces += [rolls.check(part, name, bounded=not whole) for part in parts]
        except RollError as error:
            if on_error == "raise":
                raise
            skipped.append((name, str(error)))
            continue
        if score.remark:
            told.append(f"{name}: {score.remark}")
    return Read(pieces, skipped, [f"{told[0]} ({len(told)} files have such notes)"] if told else [])


def first(path: str | Path) -> Score:
    """The first piece of what `read` takes, whole; its remark says how many others there are.

    Raises:
        ValueError: see `read`.
    """
    loaders = _loaders(source(path, SUFFIXES, "MIDI files", "raise"))
    name, load = loaders[0]
    score = _checked(load(), name)
    others = f"{Path(path).name} holds {len(loaders)} pieces; the first is taken" if len(loaders) > 1 else ""
    return score._replace(remark="; ".join(filter(None, [others, score.remark])))


def _loaders(path: Path) -> list[Loader]:
    if path.is_dir():
        files = files_below(path, SUFFIXES, "MIDI files")
        names = [file.relative_to(path).as_posix() for file in files]
        return [(name, partial(midi, file, name)) for name, file in zip(names, files, strict=True)]
    if path.suffix.lower() == ".npz":
        return [(f"{path.name}, piece {i}", partial(Score, notes)) for i, notes in enumerate(_npz(path))]
    return [(path.name, partial(midi, path))]


def _checked(score: Score, name: str) -> Score:
    return score._replace(notes=refuse_long(rolls.check(score.notes, name, bounded=False), name))


def midi(path: str | Path, name: str = "") -> Score:
    """All tracks of a MIDI file, to the nearest sixteenth.

    Velocity and instruments are left out, as are drums; a note is at least one step long. One that never ends is closed
    where another of its pitch begins, or else at the end of its track.

    Args:
        path: of the file.
        name: for messages; that of the file where empty.

    Raises:
        ValueError: no ordinary file.
        RollError: a damaged or very large file, one timed in seconds, or one without notes.
    """
    mido, name = require("audio", "mido"), name or Path(path).name
    size = ordinary(path).stat().st_size
    if size > MOST_BYTES:
        raise RollError(f"{name} has {size:,} bytes; at most {MOST_BYTES:,} are read of a MIDI file")
    try:
        file = mido.MidiFile(str(path), clip=True)
        beat = file.ticks_per_beat
        events = [
            (time, message, i)
            for i, track in enumerate(file.tracks)
            for time, message in zip(itertools.accumulate(one.time for one in track), track, strict=True)
        ]
    except Exception as error:  # mido says by many kinds, some of them bare, that it cannot go on
        raise RollError(f"{name} is damaged or no MIDI file ({reason(error)})") from error
    if not 0 < beat < 0x8000:
        raise RollError(f"{name} is timed in seconds; ticks a quarter note are expected")
    ends = {i: time for time, _, i in events}
    events.sort(key=lambda one: (one[0], one[1].type == "note_on" and one[1].velocity > 0))  # ends before starts
    switches: dict[tuple[int, int, int], list[tuple[int, bool]]] = collections.defaultdict(list)
    drums, programs = 0, set()
    for time, message, track in events:
        if message.type == "program_change":
            programs.add(message.program)
        elif message.type in ("note_on", "note_off"):
            on = message.type == "note_on" and message.velocity > 0
            if message.channel == DRUMS:
                drums += on
            else:
                switches[track, message.channel, message.note].append((time, on))
    found, hanging = [], 0
    for (track, _, pitch), one in switches.items():
        pairs, left = closed(one, ends[track])
        found += [(*pair, pitch) for pair in pairs]
        hanging += left
    if not found:
        raise RollError(f"{name} has no notes; a piece has at least one" + (" that is no drum" if drums else ""))
    times = np.array(found, np.float64)
    exact = times[:, :2] / (beat / 4)
    start, end = np.floor(exact + 0.5).astype(np.int64).T
    notes = np.stack([start, np.maximum(end - start, 1), times[:, 2].astype(np.int64)], 1)
    off = float((np.abs(exact[:, 0] - start) > OFF_GRID).mean())
    facts = [
        (off > 0.01, f"{off:.0%} of notes are off the grid of sixteenths and were moved"),
        (drums > 0, f"{drums} drum notes were left out"),
        (hanging > 0, f"{hanging} notes without an end were closed"),
        (len(programs) > 1, f"{len(programs)} instruments were merged"),
    ]
    last = int(times[:, 1].max())
    when = timing([(time, message) for time, message, _ in events if time <= last], beat)
    notes = notes[np.lexsort((notes[:, 1], notes[:, 2], start))]
    return Score(notes, when, "; ".join(text for holds, text in facts if holds))


def closed(switches: Sequence[tuple[int, bool]], end: int) -> tuple[list[tuple[int, int]], int]:
    """Spans of the notes of one pitch, and how many never ended.

    What began first ends first; where notes never end, an end belongs to what began last.

    Args:
        switches: (ticks, whether a note begins there or else ends), in order.
        end: ticks of the end of the track.
    """
    begins = [time for time, on in switches if on]
    hangs = len(begins) > len(switches) - len(begins)
    sounding: collections.deque[int] = collections.deque()
    found = []
    for time, on in switches:
        if on:
            sounding.append(time)
        elif sounding:
            found.append((sounding.pop() if hangs else sounding.popleft(), time))
    for begin in sounding:
        place = bisect.bisect_right(begins, begin)
        found.append((begin, begins[place] if place < len(begins) else max(end, begin)))
    return found, len(sounding)


def refuse_long(notes: np.ndarray, what: str) -> np.ndarray:
    """The notes; RollError where they last too long to be drawn."""
    end = int(np.maximum(notes[:, 0], notes[:, 1]).max())  # apart: their sum may be beyond what int64 holds
    end = end if end > MOST_STEPS else int((notes[:, 0] + notes[:, 1]).max())
    if end > MOST_STEPS:
        raise RollError(f"{what} lasts {end:,} sixteenths or more; pieces of at most {MOST_STEPS:,} are read")
    return notes


def _npz(path: Path) -> list[np.ndarray]:
    arrays, held = npz(path, ("notes", "pitch", "attack", "offsets"))
    if "offsets" not in arrays or not ("notes" in arrays or "pitch" in arrays):
        raise ValueError(f"{path.name} has the arrays {held}; offsets, and notes or pitch are needed")
    ends, steps = arrays["offsets"], arrays["notes" if "notes" in arrays else "pitch"]
    rising = ends.ndim == 1 and ends.dtype.kind in "iu" and len(ends) > 1 and (ends[1:] >= ends[:-1]).all()
    if steps.ndim != 2 or not rising or ends[0] != 0 or ends[-1] != len(steps):
        raise ValueError(
            f"{path.name}: offsets are {ends.shape} {ends.dtype} for arrays {steps.shape}; whole numbers are expected "
            "from 0 to the number of rows, which end one piece and begin the next"
        )
    rows = [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]
    if "notes" in arrays:
        return [steps[part] for part in rows]
    attack = arrays.get("attack")
    if attack is not None and attack.shape != steps.shape:
        raise ValueError(f"{path.name}: attack is {attack.shape}, pitch is {steps.shape}; one shape is expected")
    return [rolls.from_voices(steps[part], None if attack is None else attack[part]) for part in rows]


def encoded(notes: np.ndarray, tempo: float | Timing = TEMPO, velocity: int = 80) -> bytes:
    """A MIDI file of one track.

    Args:
        notes: (n, 3), see `rolls.check`; any length and pitch.
        tempo: quarter notes a minute, or tempo and meter.
        velocity: of all notes, 1 to 127.
    """
    mido = require("audio", "mido")
    when = tempo if isinstance(tempo, Timing) else Timing(((0, tempo),))
    events: list[tuple[int, int, int, Any]] = [(time, 0, 0, one) for time, one in messages(when, TICKS // 4)]
    for start, length, pitch in rolls.check(notes, bounded=False).tolist():
        for step, kind, loud in ((start, "note_on", velocity), (start + length, "note_off", 0)):
            message = mido.Message(kind, note=pitch, velocity=loud)
            events.append((step * TICKS // 4, 1 + (kind == "note_on"), pitch, message))
    track, before = mido.MidiTrack(), 0
    for time, _, _, message in sorted(events, key=lambda one: one[:3]):
        track.append(message.copy(time=time - before))
        before = time
    stream = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=TICKS, tracks=[track]).save(file=stream)
    return stream.getvalue()


def write_pieces(
    folder: str | Path, pieces: Sequence[np.ndarray], names: Sequence[str] | None = None, tempo: float | Timing = TEMPO
) -> list[str]:
    """Write every piece as a MIDI file into a folder, made where it is missing; returns the file names.

    Args:
        folder: where to.
        pieces: notes (n, 3) each.
        names: of the files, without suffix; None is sample-00000 and so on.
        tempo: quarter notes a minute, or tempo and meter.

    Raises:
        ValueError: another number of names.
    """
    return write_each(folder, pieces, lambda notes: encoded(notes, tempo), "sample-{:05d}.mid", names)
