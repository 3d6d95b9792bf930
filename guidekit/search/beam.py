"""Beam search: from the best points so far to their neighbors, round by round."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from guidekit.search.space import Point, Space

Tried = Mapping[Point, float]
"""Score of every point that was tried, more is better; NaN where there is none."""


def beam(space: Space, tried: Callable[[], Tried], keep: int = 2, rounds: int = 6) -> Iterator[Point]:
    """Points to be tried, in order; each has to be in `tried` before the next is asked for.

    First the start and its moves; then, so many rounds in all, the moves of the best points of everything tried so far.
    It ends early where a round has nothing new. A search that goes on takes the same way, and is not
    asked for what was tried before.

    Args:
        space: with start and moves.
        tried: scores so far.
        keep: best points whose moves are tried.
        rounds: at most.

    Source: the search of Ye et al. 2024, arXiv:2409.15761, whose moves only go up, from a start that is low.
    """
    seen: dict[Point, float] = {}
    if space.start not in tried():
        yield space.start
    seen[space.start] = tried()[space.start]
    expanded: set[Point] = set()
    for _ in range(rounds):
        best = sorted((point for point in seen if not math.isnan(seen[point])), key=lambda point: -seen[point])[:keep]
        fresh = [point for point in best if point not in expanded]
        if not fresh:
            return
        expanded.update(fresh)
        for move in dict.fromkeys(move for point in fresh for move in space.moves(point)):
            if move not in seen:
                if move not in tried():
                    yield move
                seen[move] = tried()[move]
