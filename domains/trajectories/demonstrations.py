"""Demonstrations: balls driven along near-shortest paths, from which priors of plans are trained."""

from __future__ import annotations

import dataclasses

import numpy as np

from .mazes import Maze, evenly
from .routes import Roadmap
from .tracking import track

COUNTS = {"u": 8_000, "medium": 20_000, "large": 40_000, "giant": 40_000}
"""Demonstrations of the shipped mazes."""


@dataclasses.dataclass(frozen=True)
class Demonstrations:
    """What was driven, without the runs that touched a wall or missed the goal.

    Args:
        paths: (n, K, 2) knots equally spaced along the length, start to goal, in cells.
        dropped: share of the runs that were left out.
    """

    paths: np.ndarray
    dropped: float


def demonstrate(maze: Maze, count: int, knots: int = 64, seed: int = 0, noise: float = 0.12) -> Demonstrations:
    """Drive `count` times from a random start to a random goal.

    Way points are wall corners with a clearance of .14 to .26 cells, routes are shortest for lengths that are 6 % off,
    speeds are 1.6 to 2.1 cells a second, and the acceleration is noisy.

    Args:
        maze: where.
        count: of the runs, before those with contact are dropped.
        knots: of a path.
        seed: of everything.
        noise: see `track`.
    """
    generator = np.random.default_rng(seed)
    ends = maze.random_pairs(count, generator, apart=0.3)
    roadmap = Roadmap(maze, offset=0.2, room=0.10, variants=200, spread=0.06, seed=seed)
    corners, directions = roadmap.corners
    versions = generator.integers(roadmap.variants, size=count)
    routes = roadmap.routes(ends[:, 0], ends[:, 1], versions)  # None: nothing is seen with so much room
    longest = max(len(route) for route in routes if route is not None) + 2
    paths = np.repeat(ends[:, 1:], longest, 1)
    for path, (start, _), route in zip(paths, ends, routes, strict=True):
        path[0] = start
        if route:
            room = generator.uniform(0.14, 0.26, (len(route), 1))
            path[1 : 1 + len(route)] = corners[route] + room * directions[route]
    speed = generator.uniform(1.6, 2.1, count)
    run = track(maze, paths, speed=speed, braking=2.5, careful=False, noise=noise, generator=generator)
    near = np.linalg.norm(run.positions - ends[:, 1:], axis=-1) < 0.12
    arrived = near.shape[1] - np.cumprod(near[:, ::-1], 1).sum(1)  # from here on always near
    good = near[:, -1] & ~run.touched & np.array([route is not None for route in routes])
    driven = [
        evenly(np.concatenate([run.positions[i, : arrived[i] + 1], ends[i, 1:]]), knots) for i in np.flatnonzero(good)
    ]
    made = np.stack(driven)
    made[:, 0], made[:, -1] = ends[good, 0], ends[good, 1]
    return Demonstrations(made.astype(np.float32), float(1 - good.mean()))
