"""The shortest way through a maze: a taut string around offset corners of the walls."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from scipy.sparse.csgraph import shortest_path

from .mazes import Maze, MazeError

DIAGONAL = 1 / np.sqrt(2)


@dataclasses.dataclass(frozen=True)
class Roadmap:
    """Any-angle shortest paths by a visibility graph over the convex corners of walls.

    Args:
        maze: where.
        offset: of the way points from a corner along both axes, in cells; radius / sqrt(2) touches with the ball.
        room: least distance to walls of a straight piece, in cells.
        variants: how many versions of the graph are kept, with edges longer or shorter by chance.
        spread: standard deviation of the logarithm of the lengths of edges in a version.
        seed: of the versions.
    """

    maze: Maze
    offset: float = 0.1 * DIAGONAL
    room: float = 0.062
    variants: int = 1
    spread: float = 0.0
    seed: int = 0

    @functools.cached_property
    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """Convex corners of walls (n, 2), and the diagonal direction away from each, (n, 2) of +-1."""
        walls, places, directions = self.maze.walls, [], []
        for row in range(1, walls.shape[0]):
            for column in range(1, walls.shape[1]):
                around = {
                    (1, 1): walls[row - 1, column - 1],
                    (-1, 1): walls[row - 1, column],
                    (1, -1): walls[row, column - 1],
                    (-1, -1): walls[row, column],
                }
                solid = [direction for direction, wall in around.items() if wall]
                if len(solid) == 1:
                    places.append((column, row))
                    directions.append(solid[0])
        return np.array(places, float).reshape(-1, 2), np.array(directions, float).reshape(-1, 2)

    @functools.cached_property
    def nodes(self) -> np.ndarray:
        """Way points (n, 2)."""
        places, directions = self.corners
        return places + self.offset * directions

    @functools.cached_property
    def graphs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Distances and predecessors (n, n) of every version."""
        nodes, generator = self.nodes, np.random.default_rng(self.seed)
        seen = visible(self.maze, nodes[:, None], nodes[None], self.room)
        straight = np.linalg.norm(nodes[:, None] - nodes[None], axis=-1)
        found = []
        for _ in range(self.variants):
            noise = np.triu(np.exp(self.spread * generator.standard_normal(straight.shape)), 1)
            weights = np.where(seen, straight * (noise + noise.T), 0.0)
            found.append(shortest_path(weights, directed=False, return_predecessors=True))
        return found

    def routes(
        self, starts: np.ndarray, goals: np.ndarray, versions: np.ndarray | None = None
    ) -> list[list[int] | None]:
        """Numbers of the way points between starts and goals (B, 2), in order; None where there is no way.

        Args:
            starts, goals: points.
            versions: of the graph, one a pair; None is the first for all.
        """
        seen = [visible(self.maze, ends[:, None], self.nodes[None], self.room) for ends in (starts, goals)]
        straight = [np.linalg.norm(ends[:, None] - self.nodes[None], axis=-1) for ends in (starts, goals)]
        direct = visible(self.maze, starts, goals, self.room)
        versions = np.zeros(len(starts), int) if versions is None else versions
        found: list[list[int] | None] = []
        for row, version in enumerate(versions):
            distances, before = self.graphs[version]
            first, last = (np.flatnonzero(each[row]) for each in seen)
            total = straight[0][row, first][:, None] + distances[np.ix_(first, last)] + straight[1][row, last][None]
            if direct[row]:
                found.append([])
            elif total.size == 0 or not np.isfinite(total.min()):
                found.append(None)
            else:
                i, j = np.unravel_index(total.argmin(), total.shape)
                passed = [int(last[j])]
                while passed[-1] != first[i]:
                    passed.append(int(before[first[i], passed[-1]]))
                found.append(passed[::-1])
        return found

    def path(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The shortest path (n, 2) with both ends.

        Raises:
            MazeError: the goal cannot be reached.
        """
        route = self.routes(np.asarray(start, float)[None], np.asarray(goal, float)[None])[0]
        if route is None:
            raise MazeError(
                f"the goal ({goal[0]:g}, {goal[1]:g}) cannot be reached from ({start[0]:g}, {start[1]:g}) in maze "
                f"{self.maze.name}"
            )
        return np.concatenate([[start], self.nodes[route].reshape(-1, 2), [goal]])


def visible(maze: Maze, one: np.ndarray, other: np.ndarray, room: float, looks: int = 60) -> np.ndarray:
    """Whether straight pieces between points (..., 2) keep `room` to walls, (...) bool."""
    shape = np.broadcast_shapes(one.shape, other.shape)[:-1]
    clear = np.ones(shape, bool)
    for share in np.linspace(0, 1, looks):
        clear &= maze.distance(one * (1 - share) + other * share) >= room
    return clear
