"""Conditions of paths as users write them: {start: [x, y], goal: [x, y], 20: [x, y]}, in cells of a maze."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guidekit.errors import UnknownNameError

from .mazes import Maze

ENDS = {"start": 0, "goal": -1}
"""Names of the places that a condition may name."""


def conditions(value: Any) -> Sequence[Mapping[Any, Any]]:
    """One condition a path, of one for all or a list.

    Raises:
        ValueError: something else.
    """
    each = [value] if isinstance(value, Mapping) else value
    if not isinstance(each, Sequence) or not all(isinstance(one, Mapping) for one in each):
        raise ValueError(
            f"condition={value!r}; expected {{start: [x, y], goal: [x, y]}} with points in cells, or a list of them"
        )
    return each


def numbered(key: Any, count: int, kind: str) -> int:
    """The number of a place, by name or as it is.

    Args:
        key: as written.
        count: of places of a path.
        kind: what a place is called.

    Raises:
        UnknownNameError, ValueError: there is none.
    """
    if key in ENDS:
        return ENDS[key]
    try:
        number = int(key)
    except (TypeError, ValueError) as error:
        raise UnknownNameError("point of a path", str(key), [*ENDS, f"a {kind} from 0 to {count - 1}"]) from error
    if not 0 <= number < count:
        raise ValueError(f"condition: there is no {kind} {number}; a path has {kind}s 0 to {count - 1}")
    return number


def located(key: Any, point: Any, maze: Maze, kind: str) -> np.ndarray:
    """A point (2,) of a condition, in cells; arguments as of `numbered`.

    Raises:
        MazeError: in a wall or outside the maze.
        ValueError: no point.
    """
    try:
        at = np.array(point, dtype=float)
    except (TypeError, ValueError):
        at = np.empty(0)
    if at.shape != (2,) or not np.isfinite(at).all():
        raise ValueError(f"condition {key}: {point!r}; a point [x, y] in cells is expected")
    maze.check(at, str(key) if key in ENDS else f"the point of {kind} {key}")
    return at
