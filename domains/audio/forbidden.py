"""Pitches that must not sound and notes that must begin: where the rule is broken, and the bounds that keep it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import rolls

THRESHOLD = 0.0
"""A cell above this begins or holds a note."""
LEAST = 0.002
"""Least value of a cell that must begin a note."""


class ForbiddenPitches:
    """Pitches that must not sound, at all steps or at some.

    Args:
        cells: (steps, pitches) bool, True where no note may sound.

    Raises:
        RollError: another shape or type.
    """

    def __init__(self, cells: Tensor) -> None:
        if tuple(cells.shape) != rolls.SHAPE[1:] or cells.dtype != torch.bool:
            raise rolls.RollError(
                f"cells are {tuple(cells.shape)} {cells.dtype}; steps by pitches {rolls.SHAPE[1:]} of bool are expected"
            )
        self.cells = cells

    def upper(self, states: Tensor) -> Tensor:
        """Bound (1, 2, steps, pitches) of every number of states: `THRESHOLD` where forbidden, infinite elsewhere."""
        bound = torch.where(self.cells, THRESHOLD, torch.inf).to(states)
        return bound.expand(1, *rolls.SHAPE)

    def onsets(self, states: Tensor, counts: Sequence[int | None]) -> tuple[Tensor, Tensor]:
        """Bounds (B, 2, steps, pitches) within which so many notes begin at each step, and nothing forbidden sounds.

        Of the cells that are allowed, those with the largest onsets in states begin a note: of all bounds with such
        counts these are nearest to the states.

        Args:
            states: (B, 2, steps, pitches).
            counts: notes that begin at a step, None where any number may; repeated until the last step.

        Raises:
            RollError: counts that are none, more than pitches that may sound, or do not fill the steps evenly.
        """
        wanted = self._counts(counts).to(states.device)[:, None]
        lower, upper = torch.full_like(states, -torch.inf), self.upper(states).expand(states.shape).clone()
        onset = states[:, 0].masked_fill(self.cells.to(states.device), -torch.inf)
        begins = onset.argsort(dim=-1, descending=True, stable=True).argsort(-1) < wanted
        lower[:, 0].masked_fill_(begins, LEAST)
        upper[:, 0] = torch.where(begins | (wanted < 0), upper[:, 0], THRESHOLD)
        return lower, upper

    def _counts(self, counts: Sequence[int | None]) -> Tensor:
        """Notes that begin at every step (steps,), -1 where any number may."""
        steps, given = len(self.cells), list(counts)
        if not all(n is None or (isinstance(n, int) and not isinstance(n, bool) and n >= 0) for n in given):
            raise rolls.RollError(f"rhythm {given}; whole numbers from 0, and null where any number may begin")
        if not given or steps % len(given):
            raise rolls.RollError(
                f"rhythm of {len(given)} steps; a number that divides {steps} is expected, such as 4, 8 or 16"
            )
        wanted = torch.tensor([-1 if n is None else n for n in given]).repeat(steps // len(given))
        allowed = (~self.cells).sum(1)
        over = (wanted > allowed).nonzero()[:, 0].tolist()
        if over:
            step = over[0]
            raise rolls.RollError(
                f"rhythm: {wanted[step]} notes at step {step}, where {allowed[step]} pitches may sound"
            )
        return wanted

    def count(self, states: Tensor) -> Tensor:
        """Forbidden cells that sound, (B,)."""
        return ((states > THRESHOLD).any(1) & self.cells.to(states.device)).flatten(1).sum(1)

    def __call__(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Half-open span of steps (B,) of the first that has a forbidden note; first = -1: none."""
        bad = ((states > THRESHOLD).any(1) & self.cells.to(states.device)).any(2)
        first = torch.where(bad.any(1), bad.int().argmax(1), -1)
        return first, torch.where(first >= 0, first + 1, -1)


def forbidden_pitches(rules: Sequence[str], moved: int = 0) -> ForbiddenPitches:
    """Pitches forbidden by rules: "outside C major", a note's name such as "F#", "above 79", "below 48" (MIDI).

    Args:
        rules: of pieces.
        moved: semitones by which pieces are moved up in states.

    Raises:
        ValueError: no rule, one that cannot be read, or nothing is left that may sound.
    """
    named = [rules] if isinstance(rules, str) else list(rules)
    if not named:
        raise ValueError("say what must not sound: guidance.forbidden=[outside C major], [F#,above 79] or the like")
    pitches = torch.arange(rolls.PITCHES) + rolls.LOWEST - moved
    bad = torch.zeros(rolls.PITCHES, dtype=torch.bool)
    for rule in named:
        word, _, rest = str(rule).strip().partition(" ")
        if word == "outside":
            bad |= ~torch.isin(pitches % 12, torch.tensor(rolls.pitch_classes(rest)))
        elif word in ("above", "below") and rest.strip().isdigit():
            bad |= pitches > int(rest) if word == "above" else pitches < int(rest)
        elif not rest and word in (*rolls.NAMES, *rolls.OTHER_NAMES):
            bad |= pitches % 12 == rolls.NAMES.index(rolls.OTHER_NAMES.get(word, word))
        else:
            raise ValueError(
                f"forbidden pitches {rule!r}; 'outside C major', a note such as 'F#', 'above 79' and 'below 48' can be "
                "read"
            )
    if bad.all():
        raise ValueError(f"{', '.join(map(str, named))}: no pitch from {pitches[0]} to {pitches[-1]} may sound")
    return ForbiddenPitches(bad.expand(rolls.STEPS, rolls.PITCHES))
