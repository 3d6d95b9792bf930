"""Mazes of square cells, and how far any point is from their walls."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from guidekit.errors import UnknownNameError
from guidekit.io.contents import ordinary

RADIUS = 0.1
"""Of the ball that runs through mazes, in cells."""
TOUCH = 1e-3
"""Cells by which a ball that touches a wall may seem to be inside, once it was simulated."""
RESOLUTION = 25
"""Points a cell at which the distance to the walls is tabulated."""
MAPS = {
    "u": ("#####", "#...#", "###.#", "#...#", "#####"),
    "medium": ("########", "#..##..#", "#..#...#", "##...###", "#..#...#", "#.#..#.#", "#...#..#", "########"),
    "large": (
        "############",
        "#....#.....#",
        "#.##.#.#.#.#",
        "#......#...#",
        "#.####.###.#",
        "#..#.#.....#",
        "##.#.#.#.###",
        "#..#...#...#",
        "############",
    ),
    "giant": (
        "################",
        "#..#.....#.....#",
        "#.##.###.#.###.#",
        "#....#...#...#.#",
        "#.####.#.###.#.#",
        "#......#.....#.#",
        "###.########.#.#",
        "#...#......#...#",
        "#.###.####.###.#",
        "#.....#..#.....#",
        "#.###.##.###.#.#",
        "#...#........#.#",
        "################",
    ),
}
"""Shipped mazes; U, medium and large are those of D4RL and Gymnasium-Robotics (Fu et al. 2020, arXiv:2004.07219)."""
WALL, FREE = "#", ". "


class MazeError(ValueError):
    """A text is no maze, or a point lies where none may lie."""


@dataclasses.dataclass(frozen=True)
class Maze:
    """A maze; points are (x, y) in cells, x along a row from the left, y down from the first row.

    Args:
        name: for messages.
        rows: one text a row, "#" is a wall, "." or a space is free; walls all around.

    Raises:
        MazeError: rows of different lengths, other characters, an open border, or nothing free.
    """

    name: str
    rows: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what is no maze."""
        if not self.rows:
            raise MazeError(f"maze {self.name} is empty")
        lengths = {len(row) for row in self.rows}
        if len(lengths) > 1:
            odd = next(i for i, row in enumerate(self.rows) if len(row) != len(self.rows[0]))
            raise MazeError(
                f"maze {self.name}: row {odd + 1} has {len(self.rows[odd])} cells and row 1 has {len(self.rows[0])}; a "
                "rectangle is expected"
            )
        for number, row in enumerate(self.rows, 1):
            wrong = next((letter for letter in row if letter not in WALL + FREE), None)
            if wrong is not None:
                raise MazeError(f"maze {self.name}: row {number} has {wrong!r}; # (wall) and . (free) are accepted")
        edge = self.walls.copy()
        edge[1:-1, 1:-1] = True
        if not edge.all():
            row, column = np.argwhere(~edge)[0]
            raise MazeError(f"maze {self.name} is open at row {row + 1}, column {column + 1}: close the border with #")
        if self.walls.all():
            raise MazeError(f"maze {self.name} has no free cell")

    @functools.cached_property
    def walls(self) -> np.ndarray:
        """(rows, columns) bool, True is a wall."""
        return np.array([[letter == WALL for letter in row] for row in self.rows])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in cells."""
        height, width = self.walls.shape
        return width, height

    @functools.cached_property
    def cells(self) -> np.ndarray:
        """Centers of the free cells (n, 2)."""
        row, column = np.nonzero(~self.walls)
        return np.stack([column, row], 1) + 0.5

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Distance to the nearest wall in cells, negative in walls, at `RESOLUTION` points a cell, float32."""
        fine = np.kron(self.walls, np.ones((RESOLUTION, RESOLUTION), bool))
        free = ndimage.distance_transform_edt(~fine) - 0.5
        solid = ndimage.distance_transform_edt(fine) - 0.5
        return (np.where(fine, -solid, free) / RESOLUTION).astype(np.float32)

    @functools.cached_property
    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of `table` along x and y."""
        down, right = np.gradient(self.table, 1 / RESOLUTION)
        return right.astype(np.float32), down.astype(np.float32)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance of points (..., 2) to the nearest wall in cells, negative in walls, (...)."""
        return _looked_up(self.table, points)

    def outwards(self, points: np.ndarray) -> np.ndarray:
        """Unit vectors away from the nearest wall, (..., 2)."""
        found = np.stack([_looked_up(slope, points) for slope in self.slopes], -1)
        return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-6)

    def clearance(self, points: Tensor) -> Tensor:
        """As `distance`, differentiable: points (..., 2) to (...)."""
        width, height = self.size
        grid = points / points.new_tensor([width, height]) * 2 - 1
        table = torch.from_numpy(self.table).to(points)[None, None]
        found = F.grid_sample(table, grid.reshape(1, 1, -1, 2), align_corners=False, padding_mode="border")
        return found.reshape(points.shape[:-1])

    def random_points(self, count: int, generator: np.random.Generator, room: float = 0.38) -> np.ndarray:
        """Points (count, 2), uniform over free cells and within `room` of their centers."""
        chosen = self.cells[generator.integers(len(self.cells), size=count)]
        return chosen + generator.uniform(-room, room, (count, 2))

    def random_pairs(self, count: int, generator: np.random.Generator, apart: float = 1.5) -> np.ndarray:
        """Starts and goals (count, 2, 2) at least so far apart."""
        found = np.empty((0, 2, 2))
        while len(found) < count:
            ends = self.random_points(8 * count, generator).reshape(-1, 2, 2)
            found = np.concatenate([found, ends[np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1) > apart]])
        return found[:count]

    @functools.cached_property
    def regions(self) -> np.ndarray:
        """Numbers of the connected parts of the free cells, (rows, columns); 0 in walls."""
        return ndimage.label(~self.walls)[0]

    def check_way(self, start: np.ndarray, goal: np.ndarray) -> None:
        """Raise `MazeError` where no way leads from a free point (2,) to another."""
        (a, b), (x, y) = (np.asarray(point, float) for point in (start, goal))
        if self.regions[int(b), int(a)] != self.regions[int(y), int(x)]:
            raise MazeError(
                f"({x:g}, {y:g}) cannot be reached from ({a:g}, {b:g}) in maze {self.name}: walls part them"
            )

    def check(self, points: np.ndarray, what: str) -> None:
        """Raise `MazeError` unless a ball at each of the points (n, 2) is clear of walls."""
        width, height = self.size
        for x, y in np.asarray(points, dtype=float).reshape(-1, 2):
            if not (0 <= x <= width and 0 <= y <= height):
                raise MazeError(f"{what} ({x:g}, {y:g}) lies outside maze {self.name} of {width} x {height} cells")
            if self.distance(np.array([x, y])) < RADIUS - TOUCH:
                near = self.cells[np.linalg.norm(self.cells - [x, y], axis=1).argmin()]
                raise MazeError(
                    f"{what} ({x:g}, {y:g}) lies in a wall of maze {self.name}, or closer to one than the ball's "
                    f"radius of {RADIUS}; the nearest free cell is centered at ({near[0]:g}, {near[1]:g})"
                )


def maze(name: str | Path) -> Maze:
    """A shipped maze by name, or one in a text file with a row a line.

    Raises:
        UnknownNameError: neither of both.
        MazeError: the file holds no maze.
    """
    if str(name) in MAPS:
        return Maze(str(name), MAPS[str(name)])
    path = Path(name)
    if not path.exists() and not path.suffix:
        raise UnknownNameError("maze", str(name), [*MAPS, "the path of a text file"])
    try:
        lines = ordinary(path).read_text().splitlines()
    except UnicodeDecodeError as error:
        raise MazeError(f"{path} is no text file") from error
    return Maze(path.name, tuple(line.rstrip() for line in lines if line.strip()))


def lengths(paths: np.ndarray) -> np.ndarray:
    """Length of paths (B, K, 2), (B,)."""
    return np.linalg.norm(np.diff(paths, axis=1), axis=-1).sum(1)


def evenly(path: Sequence[Sequence[float]] | np.ndarray, knots: int) -> np.ndarray:
    """A path (n, 2) as knots equally spaced along its length, (knots, 2)."""
    path = np.asarray(path, dtype=float)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0, along[-1], knots)
    return np.stack([np.interp(at, along, path[:, axis]) for axis in range(2)], 1)


def least_clearance(paths: np.ndarray, distance: object, between: int = 8) -> np.ndarray:
    """Least distance to walls along paths (B, K, 2), looked at `between` points a segment, (B,)."""
    share = (np.arange(between) / between)[:, None]
    inner = paths[:, :-1, None] * (1 - share) + paths[:, 1:, None] * share
    points = np.concatenate([inner.reshape(len(paths), -1, 2), paths[:, -1:]], 1)
    return distance(points).min(1)  # type: ignore[operator]


def _looked_up(table: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of a table at points (..., 2), bilinear; the nearest edge beyond it."""
    points = np.asarray(points, dtype=float)
    u = np.clip(points[..., 0] * RESOLUTION - 0.5, 0, table.shape[1] - 1.001)
    v = np.clip(points[..., 1] * RESOLUTION - 0.5, 0, table.shape[0] - 1.001)
    i, j = u.astype(int), v.astype(int)
    a, b = u - i, v - j
    upper = table[j, i] * (1 - a) + table[j, i + 1] * a
    return upper * (1 - b) + (table[j + 1, i] * (1 - a) + table[j + 1, i + 1] * a) * b
