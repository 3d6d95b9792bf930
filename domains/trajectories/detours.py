"""Detours around what a path runs into: the shortest way on a grid (A*), and its repair in a path."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from .mazes import RADIUS, Maze, least_clearance
from .routes import visible

GRID = 10
"""Points a cell."""
ROOMS = (0.25, 0.2, 0.16, 0.13, RADIUS + 0.01)
"""Distances to walls that are tried, the largest first: the controller is off by some hundredths."""
LOOKED = RADIUS + 0.04
"""A path that comes nearer to a wall than this is repaired."""
STEPS = ((0, 1, 1.0), (1, 0, 1.0), (1, 1, 2**0.5), (1, -1, 2**0.5))


def detour(world: Maze, start: np.ndarray, goal: np.ndarray) -> np.ndarray | None:
    """The shortest way (n, 2) from start to goal on a grid, its corners cut where there is room; None where none is.

    Args:
        world: with its walls and obstacles.
        start, goal: points (2,) in cells.
    """
    width, height = world.size
    x, y = np.meshgrid(*((np.arange(size * GRID) + 0.5) / GRID for size in (width, height)))
    distance = world.distance(np.stack([x, y], -1))
    ends = [
        tuple(np.clip((point[::-1] * GRID).astype(int), 0, np.array(distance.shape) - 1)) for point in (start, goal)
    ]
    for room in ROOMS:
        free = distance >= room
        for row, column in ends:  # an end may lie nearer to a wall than that
            near = np.s_[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            free[near] |= distance[near] >= RADIUS
            free[row, column] = True
        passed = _shortest(free, ends[0], ends[1])
        if passed is not None:
            points = np.concatenate([start[None], np.stack([x.flat[passed], y.flat[passed]], 1)[1:-1], goal[None]])
            return _shortcut(world, points, max(room - 0.02, RADIUS))
    return None


def _shortest(free: np.ndarray, start: tuple, goal: tuple) -> list[int] | None:
    """Flat indices of the free points from start to goal, eight neighbors each; None where there is no way."""
    height, width = free.shape
    number = np.arange(height * width).reshape(height, width)
    pairs, weights = [], []
    for down, right, length in STEPS:
        here = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        there = np.s_[down:, max(0, right) : width - max(0, -right)]
        both = free[here] & free[there]
        pairs.append(np.stack([number[here][both], number[there][both]]))
        weights.append(np.full(both.sum(), length))
    edges = np.concatenate(pairs, 1)
    graph = csr_matrix((np.concatenate(weights), (edges[0], edges[1])), shape=(number.size, number.size))
    first, last = number[start], number[goal]
    _, before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    passed = [int(last)]
    while passed[-1] != first:
        if before[passed[-1]] < 0:
            return None
        passed.append(int(before[passed[-1]]))
    return passed[::-1]


def _shortcut(world: Maze, points: np.ndarray, room: float) -> np.ndarray:
    """The points that are left when every straight piece with enough room replaces what it can."""
    kept, here = [0], 0
    while here < len(points) - 1:
        ahead = np.arange(here + 1, len(points))
        seen = visible(world, points[here][None], points[ahead], room)
        here = int(ahead[np.flatnonzero(seen)[-1]]) if seen.any() else here + 1
        kept.append(here)
    return points[kept]


def repaired(world: Maze, path: np.ndarray, rounds: int = 3) -> tuple[np.ndarray, bool]:
    """A path (K, 2) whose stretches too near to walls or obstacles are replaced by detours, with the same ends.

    First the stretch and some knots around it, then more of them, at last the whole path; knots stay K, more of them
    where the path bends.

    Returns:
        the path, and whether it keeps clear now; it is the given one where no detour exists.
    """
    knots, now = len(path), path
    for number in range(rounds):
        if least_clearance(now[None], world.distance)[0] >= LOOKED:
            break
        near = _near(world, now)
        around = 3 * (number + 1)
        last = number == rounds - 1
        first, stop = (0, len(now) - 1) if last else (max(near[0] - around, 0), min(near[-1] + around, len(now) - 1))
        way = detour(world, now[first], now[stop])
        if way is None and not last:
            first, stop = 0, len(now) - 1
            way = detour(world, now[first], now[stop])
        if way is None:
            return path, False
        now = np.concatenate([now[:first], way, now[stop + 1 :]])
    if now is path:
        return path, True
    found = knotted(now, knots)
    return found, bool(least_clearance(found[None], world.distance)[0] >= RADIUS)


def _near(world: Maze, path: np.ndarray) -> np.ndarray:
    """Numbers of the knots at or before which a path (K, 2) comes too near."""
    share = (np.arange(9) / 8)[:, None]
    inner = path[:-1, None] * (1 - share) + path[1:, None] * share
    return np.flatnonzero(world.distance(inner).min(1) < LOOKED)


def knotted(path: np.ndarray, knots: int) -> np.ndarray:
    """A polyline (n, 2) as (knots, 2): all its corners, and points between them, more in longer pieces.

    Equal spacing would cut corners. Where there are more corners than knots, those that bend least are left out.
    """
    while len(path) > knots:
        area = np.abs(_cross(path[1:-1] - path[:-2], path[2:] - path[1:-1]))
        path = np.delete(path, 1 + int(area.argmin()), 0)
    pieces, count = np.linalg.norm(np.diff(path, axis=0), axis=1), np.ones(len(path) - 1, int)
    for _ in range(knots - len(path)):
        count[(pieces / count).argmax()] += 1
    parts = [a + (b - a) * (np.arange(n) / n)[:, None] for a, b, n in zip(path[:-1], path[1:], count, strict=True)]
    return np.concatenate([*parts, path[-1:]])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
