"""Verifiers: where a sequence first breaks a rule, as a span of tokens.

A verifier is a callable of clean tokens (B, L) int64 that returns (first, stop), two int64 tensors (B,): the half-open
span of the first violation of every row, first = -1 where there is none. The answer for a row is a function of that row
alone. A verifier may also have `count(tokens) -> (B,)`, the number of violations, by which sequences that cannot be
repaired are compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.state import State


class Verifier(Protocol):
    """See the module's documentation."""

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Half-open span (first, stop) of the first violation of every row, (B,) int64 each; first = -1: none."""


class Bounds(Protocol):
    """What bounds real-valued states, for guidance that keeps them within (FGG)."""

    def upper(self, states: Tensor) -> Tensor:
        """The largest value, (1, *S), of every number of states (B, *S)."""


class ForbiddenWords:
    """A violation is an occurrence of a word; of words that begin at one place the shortest is reported.

    Args:
        words: sequences of token ids; a collection of ids in place of one stands for any of them.

    Raises:
        ValueError: no word, or an empty one.
    """

    def __init__(self, words: Sequence[Sequence[int | Collection[int]]]) -> None:
        sets = {tuple(frozenset([ids] if isinstance(ids, int) else ids) for ids in word) for word in words}
        if not sets or () in sets:
            raise ValueError(f"{len(sets)} words, one of them empty or none at all; give words of at least one token")
        self.words = sorted(([sorted(ids) for ids in word] for word in sets), key=lambda word: (len(word), word))

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See the module's documentation."""
        length = tokens.shape[1]
        place = torch.arange(length, device=tokens.device)
        first = torch.full((len(tokens),), length, device=tokens.device)
        stop = torch.full_like(first, -1)
        for word in self.words:
            begin = torch.where(self._hits(tokens, word), place, length).amin(1)
            sooner = begin < first  # words come shortest first
            first, stop = torch.where(sooner, begin, first), torch.where(sooner, begin + len(word), stop)
        return torch.where(first < length, first, -1), stop

    def count(self, tokens: Tensor) -> Tensor:
        """Occurrences of all words, overlapping ones too, (B,)."""
        return torch.stack([self._hits(tokens, word).sum(1) for word in self.words]).sum(0)

    @staticmethod
    def _hits(tokens: Tensor, word: Sequence[Sequence[int]]) -> Tensor:
        """Whether the word begins at each place, (B, L) bool."""
        places = max(0, tokens.shape[1] - len(word) + 1)  # where it has room
        hits = torch.ones(len(tokens), places, dtype=torch.bool, device=tokens.device)
        for i, ids in enumerate(word):
            hits &= torch.isin(tokens[:, i : i + places], torch.tensor(ids, device=tokens.device))
        return F.pad(hits, (0, tokens.shape[1] - places))


@dataclasses.dataclass(frozen=True)
class OccupiedCells:
    """Paths on a grid: tokens are x_1 y_1 ... x_N y_N, the cells of N waypoints; the span is a waypoint's two tokens.

    A waypoint violates when its cell is occupied or off the grid, when the straight segment from the waypoint before it
    crosses such a cell, or when that segment is longer than `reach`. Segments join cell centres and are looked at in
    points at most 1 / resolution cells apart, so a corner may be cut by less than that; a point halfway between two
    cells belongs to the one of larger index.

    Args:
        grid: (H, W) bool, True = occupied; x is the column, y the row.
        reach: longest step, in cells; None is no limit.
        resolution: points a cell.
    """

    grid: Tensor
    reach: float | None = None
    resolution: int = 8

    def __post_init__(self) -> None:
        """Refuse a grid that is none."""
        if self.grid.ndim != 2 or self.grid.dtype != torch.bool or self.resolution < 1:
            raise ValueError(
                f"grid of shape {tuple(self.grid.shape)} and {self.grid.dtype}, resolution={self.resolution}: "
                "expected a bool grid (H, W) and a resolution of at least 1"
            )

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See the module's documentation."""
        bad = self._violating(tokens)
        some = bad.any(1)
        first = torch.where(some, 2 * bad.int().argmax(1), -1)
        return first, torch.where(some, first + 2, -1)

    def count(self, tokens: Tensor) -> Tensor:
        """Waypoints that violate, (B,)."""
        return self._violating(tokens).sum(1)

    def _violating(self, tokens: Tensor) -> Tensor:
        """Which waypoints violate, (B, N) bool."""
        if tokens.shape[1] % 2:
            raise ValueError(f"{tokens.shape[1]} tokens are no pairs of x and y; an even number is needed")
        points = tokens.view(len(tokens), -1, 2).double()
        before, step = points[:, :-1, None], points.diff(dim=1)
        pieces = self.resolution * max(self.grid.shape)  # no step on the grid needs more
        share = torch.arange(1, pieces, dtype=torch.float64, device=tokens.device)[:, None] / pieces
        bad = self._occupied(points)
        bad[:, 1:] |= self._occupied(before + share * step[:, :, None]).any(-1)
        if self.reach is not None:
            bad[:, 1:] |= step.square().sum(-1) > self.reach**2 + 1e-9
        return bad

    def _occupied(self, points: Tensor) -> Tensor:
        """Whether points (..., 2) lie in an occupied cell or off the grid."""
        height, width = self.grid.shape
        x, y = (points + 0.5).floor().long().unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return ~inside | self.grid.to(points.device)[y.clamp(0, height - 1), x.clamp(0, width - 1)]


@dataclasses.dataclass(frozen=True)
class ObjectVerifier:
    """A user's check of decoded objects; each distinct sequence is checked once a call.

    Args:
        decode: states (B, L) -> objects, None where there is none (then the whole sequence is the violation).
        check: object -> None where it is right, or (start, stop) in tokens, half-open.
    """

    decode: Callable[[State], Sequence[Any]]
    check: Callable[[Any], tuple[int, int] | None]

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See the module's documentation."""
        rows, inverse = torch.unique(tokens, dim=0, return_inverse=True)
        whole = (0, tokens.shape[1])
        spans = [whole if thing is None else self.check(thing) or (-1, -1) for thing in self.decode(rows)]
        table = torch.tensor(spans, dtype=torch.int64, device=tokens.device).reshape(-1, 2)
        return table[inverse, 0], table[inverse, 1]


def verify(verifier: Verifier, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The answer of a verifier, checked.

    Raises:
        ValueError: it is no pair of (B,) tensors, or a span is empty or leaves the sequence.
    """
    first, stop = verifier(tokens)
    name, (rows, length) = type(verifier).__name__, tokens.shape
    if first.shape != (rows,) or stop.shape != (rows,):
        raise ValueError(
            f"verifier {name} returned shapes {tuple(first.shape)} and {tuple(stop.shape)} for {rows} rows; "
            f"expected ({rows},) twice: where the first violation begins (-1: none) and where it stops"
        )
    wrong = (first >= 0) & ((stop <= first) | (stop > length))
    if wrong.any():
        i = int(wrong.int().argmax())
        raise ValueError(
            f"verifier {name} returned the span [{int(first[i])}, {int(stop[i])}) in a sequence of {length} tokens; "
            "expected 0 <= first < stop <= length, or first = -1"
        )
    return first, stop


def violations(verifier: Verifier, tokens: Tensor, first: Tensor) -> Tensor:
    """Number of violations (B,) float64; without `verifier.count`, 1 for rows with some."""
    count = getattr(verifier, "count", None)
    return (first >= 0).double() if count is None else count(tokens).double().to(first.device)
