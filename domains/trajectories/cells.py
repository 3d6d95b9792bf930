"""Paths as sequences of maze cells: which cells follow each other, and the taut string through a corridor of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from guidekit.processes.automata import Automaton

from .codec import PathError
from .detours import GRID, LOOKED, ROOMS, detour
from .mazes import FREE, WALL, Maze, evenly, least_clearance
from .obstacles import Obstructed
from .routes import Roadmap

OFFSET, ROOM = 0.15, 0.1
"""Distance along both axes of taut strings to corners of their corridor, and least distance to its walls, in cells."""
FINE = 40
"""Points a cell at which the cells of a path are looked up."""


@dataclasses.dataclass(frozen=True)
class CellCodec:
    """The codec of a prior of paths as tokens (B, L): numbers of free cells, the last one repeated to the end.

    Args:
        maze: its free cells, row by row, are the ids 0 .. V - 1.
        length: L.
    """

    maze: Maze
    length: int

    @property
    def language(self) -> str:
        """What a state's numbers are."""
        return f"{self.length} cells of paths through maze {self.maze.name}, {' '.join(self.maze.rows)}"

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        """(rows, columns) int64, the id of every cell, -1 for walls."""
        found = np.full(self.maze.walls.shape, -1)
        found[~self.maze.walls] = np.arange(len(self.maze.cells))
        return found

    @functools.cached_property
    def adjacent(self) -> np.ndarray:
        """(V, V) bool: the same cell, one beside it, or one across a corner whose other two cells are free."""
        cells = np.floor(self.maze.cells).astype(int)
        gap = np.abs(cells[:, None] - cells[None])
        x, y = np.broadcast_arrays(cells[:, None], cells[None])
        open_corner = ~self.maze.walls[y[..., 1], x[..., 0]] & ~self.maze.walls[x[..., 1], y[..., 0]]
        return (gap.sum(-1) <= 1) | ((gap == 1).all(-1) & open_corner)

    @functools.cached_property
    def automaton(self) -> Automaton:
        """Accepts the sequences whose cells follow each other, without cells that obstacles fill."""
        return Automaton.of_pairs(torch.from_numpy(self.adjacent)).without(np.flatnonzero(self.filled).tolist())

    @functools.cached_property
    def filled(self) -> np.ndarray:
        """(V,) bool, cells in which obstacles leave no room for a ball."""
        place = (np.arange(GRID) + 0.5) / GRID
        inner = np.stack(np.meshgrid(place, place), -1).reshape(-1, 2) - 0.5
        return self.maze.distance(self.maze.cells[:, None] + inner).max(1) < ROOMS[-1]

    @functools.cached_property
    def steps(self) -> np.ndarray:
        """(V, V), the fewest steps from one cell to another around filled ones, inf where none lead there."""
        free = ~self.filled
        return shortest_path(sparse.csr_array(self.adjacent & free & free[:, None]), unweighted=True)

    def id_at(self, point: Sequence[float] | np.ndarray) -> int:
        """The id of the cell around a point (x, y); -1 in walls and outside."""
        x, y = np.floor(np.asarray(point, float)).astype(int)
        inside = 0 <= y < self.numbers.shape[0] and 0 <= x < self.numbers.shape[1]
        return int(self.numbers[y, x]) if inside else -1

    def sequence(self, path: np.ndarray) -> np.ndarray:
        """Ids of the cells that a path (K, 2) runs through, in order; -1 where it runs through walls."""
        path = np.asarray(path, float)
        pieces = int(FINE * np.linalg.norm(np.diff(path, axis=0), axis=1).sum()) + 2
        x, y = np.floor(np.concatenate([evenly(path, pieces), path[-1:]])).astype(int).T
        height, width = self.numbers.shape
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        ids = np.where(inside, self.numbers[y.clip(0, height - 1), x.clip(0, width - 1)], -1)
        return ids[np.flatnonzero(np.diff(ids, prepend=-2))]

    def encode(self, objects: Sequence[np.ndarray]) -> Tensor:
        """States (B, L) int64 of paths.

        Raises:
            PathError: no path, one through walls, or one through more than L cells.
        """
        made = np.empty((len(objects), self.length), np.int64)
        for number, path in enumerate(objects):
            points = np.asarray(path, float)
            if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.isfinite(points).all():
                raise PathError(f"path {number} has shape {points.shape}; (points, 2), all finite, is expected")
            ids = self.sequence(points)
            if (ids < 0).any():
                raise PathError(f"path {number} runs through a wall of maze {self.maze.name}, or leaves it")
            if len(ids) > self.length:
                raise PathError(f"path {number} runs through {len(ids)} cells; this prior knows up to {self.length}")
            made[number] = np.pad(ids, (0, self.length - len(ids)), mode="edge")
        return torch.from_numpy(made)

    def valid(self, states: Tensor) -> Tensor:
        """Whether the cells of states (B, L) are free and follow each other, (B,)."""
        known = ((states >= 0) & (states < len(self.maze.cells))).all(1)
        inside = states.clamp(0, len(self.maze.cells) - 1)
        follow = torch.from_numpy(self.adjacent).to(states.device)[inside[:, :-1], inside[:, 1:]].all(1)
        return known & follow

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """Taut strings (n, 2) between the centers of the first and the last cell; None where cells do not follow."""
        return self.paths(states, [{} for _ in states])

    def paths(self, states: Tensor, ends: Sequence[Mapping[str, Sequence[float]]]) -> list[np.ndarray | None]:
        """As `decode`, from the point "start" to "goal" of each row where it has them and they lie in those cells."""
        if states.ndim != 2 or states.shape[1] != self.length:
            raise PathError(f"states have shape {tuple(states.shape)}; (B, {self.length}) is expected")
        found: list[np.ndarray | None] = []
        for ids, good, points in zip(states.cpu().numpy(), self.valid(states).tolist(), ends, strict=True):
            if not good:
                found.append(None)
                continue
            start, goal = (
                np.asarray(points[name], float)
                if name in points and self.id_at(points[name]) == cell
                else self.maze.cells[cell]
                for name, cell in (("start", ids[0]), ("goal", ids[-1]))
            )
            found.append(self.string(ids, start, goal))
        return found

    def string(self, ids: np.ndarray, start: np.ndarray, goal: np.ndarray) -> np.ndarray | None:
        """The shortest path (n, 2) from start to goal within the corridor of cells; None where none has room."""
        route = _corridor(self.maze, frozenset(ids.tolist()))
        passed = route.routes(start[None], goal[None])[0]
        if np.linalg.norm(start - goal) < 1e-6:  # a path has two points, and a direction
            goal = start + 1e-3
        if passed is None:  # straight pieces see obstacles, corners of walls do not lead around them
            return detour(route.maze, start, goal) if self.obstacles else None
        taut = np.concatenate([start[None], route.nodes[passed].reshape(-1, 2), goal[None]])
        if not self.obstacles or least_clearance(taut[None], route.maze.distance, 40)[0] >= LOOKED:
            return taut
        return detour(route.maze, start, goal)

    @property
    def obstacles(self) -> bool:
        """Whether the maze has some."""
        return bool(getattr(self.maze, "obstacles", ()))

    def blocked_at(self, ids: np.ndarray) -> int:
        """Place of the first cell of a sequence (L,) that is wrong; -1 without one.

        Wrong are cells that cannot be reached through those before them, and those from which the last cell is too far
        for the places that are left: a repair there would be a dead end.
        """
        far = self.steps[ids, ids[-1]] > np.arange(len(ids))[::-1]
        for place in range(1, len(ids)):
            if far[place] or not self.adjacent[ids[place - 1], ids[place]]:
                return place
        if not self.obstacles:
            return -1
        for place in range(1, len(ids)):
            if ids[place] != ids[place - 1] and not _passable(self.maze, tuple(ids[: place + 1].tolist())):
                return place
        return -1


@dataclasses.dataclass(frozen=True)
class Passable:
    """A verifier of cells: the first that does not follow the one before it, or that is cut off from start or end.

    Args:
        codec: of the cells, with the obstacles in its maze.
    """

    codec: CellCodec

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `guidekit.objectives.verifiers`."""
        rows, inverse = torch.unique(tokens, dim=0, return_inverse=True)
        first = torch.tensor([self.codec.blocked_at(ids) for ids in rows.cpu().numpy()], device=tokens.device)[inverse]
        return first, torch.where(first < 0, -1, first + 1)


@functools.lru_cache(maxsize=1 << 14)
def _passable(maze: Maze, ids: tuple[int, ...]) -> bool:
    """Whether a ball gets from the first of some cells to the last one through them."""
    world = _corridor(maze, frozenset(ids)).maze
    place = (np.arange(GRID) + 0.5) / GRID
    x, y = np.meshgrid(*((np.arange(size)[:, None] + place).ravel() for size in maze.size))
    regions, _ = ndimage.label(world.distance(np.stack([x, y], -1)) >= ROOMS[-1], np.ones((3, 3)))

    def within(cell: int) -> set[int]:
        column, row = np.floor(maze.cells[cell]).astype(int) * GRID
        return set(regions[row : row + GRID, column : column + GRID].ravel().tolist()) - {0}

    return bool(within(ids[0]) & within(ids[-1]))


@functools.lru_cache(maxsize=4096)
def _corridor(maze: Maze, ids: frozenset[int]) -> Roadmap:
    """The roadmap of a maze in which only some cells are free, and those that a step across a corner needs."""
    cells = np.floor(maze.cells[sorted(ids)]).astype(int)
    open_ = np.zeros_like(maze.walls)
    open_[cells[:, 1], cells[:, 0]] = True
    for down in (1, -1):  # free cells across a corner from each other
        x, y = cells.T
        across = open_[y + down, x + 1] & ~open_[y + down, x] & ~open_[y, x + 1]
        for column, row in cells[across]:
            sides = [(row + down, column), (row, column + 1)]
            if not any(maze.walls[side] for side in sides):
                for side in sides:
                    open_[side] = True
    rows = tuple("".join(FREE[0] if free else WALL for free in row) for row in open_)
    corridor = Maze(f"corridor of {maze.name}", rows)
    if getattr(maze, "obstacles", ()):
        corridor = Obstructed(corridor.name, rows, maze.obstacles)  # type: ignore[attr-defined]
    return Roadmap(corridor, OFFSET, ROOM)
