"""How fast a piece is and how it is counted: tempo and meter of MIDI files, kept from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

MIDI_TEMPO, MIDI_METER = 120.0, (4, 4)
"""Of a MIDI file that says nothing, by its standard."""
TEMPO = 84.0
"""Quarter notes a minute of a piece that is made from nothing."""
SLOWEST, FASTEST = 4.0, 960.0
"""Quarter notes a minute; a MIDI file can hold no slower ones."""


class Timing(NamedTuple):
    """Tempo and meter of a piece, each from a step (sixteenth) on; the last ones go on beyond its end.

    Attributes:
        tempos: (step, quarter notes a minute).
        meters: (step, beats a bar, unit of the beat).
    """

    tempos: tuple[tuple[int, float], ...] = ()
    meters: tuple[tuple[int, int, int], ...] = ()

    @property
    def bar(self) -> int:
        """Sixteenths of the last bar; 16 where that is no whole number of them."""
        _, beats, unit = (self.meters or ((0, *MIDI_METER),))[-1]
        steps, rest = divmod(16 * beats, unit)
        return steps if steps and not rest else 16

    @property
    def origin(self) -> int:
        """A step at which a bar begins, as the last meter counts."""
        return (self.meters or ((0, *MIDI_METER),))[-1][0]

    def at(self, tempo: float) -> Timing:
        """The same at one tempo, quarter notes a minute."""
        return self._replace(tempos=((0, tempo),))

    def since(self, step: int) -> Timing:
        """Of what is left when a piece is cut before a step."""
        return Timing(*(_since(changes, step) for changes in (self.tempos, self.meters)))

    def __str__(self) -> str:
        """In words."""
        tempos = [f"{tempo:.4g}" for _, tempo in self.tempos] or [f"{MIDI_TEMPO:g} (none is given)"]
        meters = [f"{beats}/{unit}" for _, beats, unit in self.meters] or ["4/4 (none is given)"]
        return f"{_listed(tempos)} quarter notes a minute, in {_listed(meters)}"


def timing(events: Sequence[tuple[int, Any]], beat: int) -> Timing:
    """Tempo and meter of a file.

    Args:
        events: messages of mido with their ticks, in order.
        beat: ticks a quarter note.
    """
    tempos: dict[int, tuple[int, float]] = {}
    meters: dict[int, tuple[int, int, int]] = {}
    for time, one in events:
        step = round(time / (beat / 4))
        if one.type == "set_tempo" and one.tempo > 0:
            tempos[step] = (step, min(max(60e6 / one.tempo, SLOWEST), FASTEST))
        elif one.type == "time_signature" and one.numerator > 0:
            meters[step] = (step, one.numerator, one.denominator)
    return Timing(_changes(tempos), _changes(meters))


def messages(of: Timing, ticks: int) -> list[tuple[int, Any]]:
    """Messages of mido for a file, with the ticks at which they are due.

    Args:
        of: what is written.
        ticks: of a step.
    """
    from mido import MetaMessage, bpm2tempo

    found = [(step * ticks, MetaMessage("set_tempo", tempo=bpm2tempo(tempo))) for step, tempo in of.tempos]
    return found + [
        (step * ticks, MetaMessage("time_signature", numerator=beats, denominator=unit))
        for step, beats, unit in of.meters
    ]


def _changes(found: dict[int, Any]) -> tuple[Any, ...]:
    """Those in order that differ from the one before."""
    ordered = [found[step] for step in sorted(found)]
    return tuple(one for i, one in enumerate(ordered) if i == 0 or one[1:] != ordered[i - 1][1:])


def _since(changes: tuple[Any, ...], step: int) -> tuple[Any, ...]:
    before, after = [one for one in changes if one[0] <= step], [one for one in changes if one[0] > step]
    return tuple((max(one[0] - step, 0), *one[1:]) for one in before[-1:] + after)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{words[0]}, later {', '.join(words[1:])}"
