"""Obstacles that are on no map: discs and boxes in a maze, from numbers or from a map in which they are drawn."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .mazes import RESOLUTION, Maze, MazeError, maze

Obstacle = tuple[float, ...]
"""A disc (x, y, radius) or a box (left, top, right, bottom), in cells."""


@dataclasses.dataclass(frozen=True)
class Obstructed(Maze):
    """A maze with obstacles: distances and execution see them as walls, its cells and its shortest ways do not.

    Args:
        obstacles: discs and boxes.

    Raises:
        MazeError: an obstacle that is neither, or lies outside the maze.
    """

    obstacles: tuple[Obstacle, ...] = ()

    def __post_init__(self) -> None:
        """Refuse obstacles that are none."""
        super().__post_init__()
        width, height = self.size
        for each in self.obstacles:
            disc, box = len(each) == 3 and each[-1] > 0, len(each) == 4 and each[2] > each[0] and each[3] > each[1]
            if not all(map(math.isfinite, each)) or not (disc or box):
                raise MazeError(
                    f"obstacle {list(each)}; a disc [x, y, radius] or a box [left, top, right, bottom] is expected, "
                    "in cells"
                )
            if not (0 <= each[0] <= width and 0 <= each[1] <= height):
                raise MazeError(f"obstacle {list(each)} lies outside maze {self.name} of {width} x {height} cells")

    @functools.cached_property
    def table(self) -> np.ndarray:
        """See `Maze.table`; the nearer of walls and obstacles."""
        width, height = self.size
        place = [(np.arange(size * RESOLUTION) + 0.5) / RESOLUTION for size in (width, height)]
        x, y = np.meshgrid(*place)
        found = Maze(self.name, self.rows).table
        for each in self.obstacles:
            found = np.minimum(found, _distance(each, x, y))
        return found.astype(np.float32)


def _distance(obstacle: Obstacle, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of points to a disc or a box, negative within."""
    if len(obstacle) == 3:
        return np.hypot(x - obstacle[0], y - obstacle[1]) - obstacle[2]
    left, top, right, bottom = obstacle
    across, down = np.maximum(left - x, x - right), np.maximum(top - y, y - bottom)
    return np.hypot(np.maximum(across, 0), np.maximum(down, 0)) + np.minimum(np.maximum(across, down), 0)


def obstructed(ground: Maze, given: str | Path | Sequence[Sequence[float]] | None) -> Maze:
    """A maze with obstacles, or as it is without any.

    Args:
        ground: the maze.
        given: discs [x, y, radius] and boxes [left, top, right, bottom] in cells, or a text file: a map of the maze, as
            `mazes.maze` reads it, in which every further wall is a box.

    Raises:
        MazeError: no obstacle, or a map of another size or without some walls of the maze.
    """
    if given is None:
        return ground
    if isinstance(given, str | Path):
        drawn = maze(given)
        if drawn.walls.shape != ground.walls.shape or (ground.walls & ~drawn.walls).any():
            raise MazeError(
                f"the map of obstacles {drawn.name} has {drawn.size[0]} x {drawn.size[1]} cells or lacks walls of maze "
                f"{ground.name} ({ground.size[0]} x {ground.size[1]}): draw obstacles as # into its own map"
            )
        rows, columns = np.nonzero(drawn.walls & ~ground.walls)
        boxes = [(float(x), float(y), x + 1.0, y + 1.0) for y, x in zip(rows, columns, strict=True)]
        return Obstructed(ground.name, ground.rows, tuple(boxes))
    try:
        shapes = tuple(tuple(float(number) for number in each) for each in given)
    except (TypeError, ValueError) as error:
        raise MazeError(f"obstacles={given!r}; a list of [x, y, radius] or [left, top, right, bottom]") from error
    return Obstructed(ground.name, ground.rows, shapes)
