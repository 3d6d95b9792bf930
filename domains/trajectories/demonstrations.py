"""Demonstrations: balls driven along near-shortest paths, from which priors of plans are trained."""

from __future__ import annotations

import dataclasses

import numpy as np

from .mazes import Maze, evenly
from .routes import Roadmap
from .tracking import Execution, track

COUNTS = {"u": 8_000, "medium": 20_000, "large": 40_000, "giant": 40_000}
"""Demonstrations of the shipped mazes."""
STRIDES = {"u": 1, "medium": 2, "large": 2, "giant": 4}
"""Control steps from knot to knot of windows of 128 knots, so that nearly all drives fit."""


@dataclasses.dataclass(frozen=True)
class Demonstrations:
    """What was driven, without the runs that touched a wall or missed the goal.

    Args:
        paths: (n, K, 2) knots equally spaced along the length, start to goal, in cells.
        dropped: share of the runs that were left out.
    """

    paths: np.ndarray
    dropped: float


@dataclasses.dataclass(frozen=True)
class Drives:
    """Runs of the planner's ball.

    Args:
        run: what happened.
        ends: (B, 2, 2), start and goal of each, in cells.
        arrived: (B,) control steps from which on the ball is within .12 cells of its goal.
        good: (B,) bool, whether it stayed there and touched no wall.
    """

    run: Execution
    ends: np.ndarray
    arrived: np.ndarray
    good: np.ndarray


def demonstrate(maze: Maze, count: int, knots: int = 64, seed: int = 0, noise: float = 0.12) -> Demonstrations:
    """Paths of `count` drives from a random start to a random goal, see `drives`; knots of a path, spaced evenly."""
    made = drives(maze, count, seed, noise)
    positions, ends = made.run.positions, made.ends
    paths = np.stack(
        [
            evenly(np.concatenate([positions[i, : made.arrived[i] + 1], ends[i, 1:]]), knots)
            for i in np.flatnonzero(made.good)
        ]
    )
    paths[:, 0], paths[:, -1] = ends[made.good, 0], ends[made.good, 1]
    return Demonstrations(paths.astype(np.float32), float(1 - made.good.mean()))


def windows(maze: Maze, count: int, knots: int, stride: int, seed: int = 0, noise: float = 0.12) -> Demonstrations:
    """Windows (n, knots, 6) of such drives: x, y, velocity, and the mean acceleration since the last knot as a share.

    Knots are `stride` control steps apart. A window begins at the start of a drive or, half of the time, anywhere
    before the ball arrives, and ends at rest at the goal; drives that take longer are left out, of the rest too.
    """
    made = drives(maze, count, seed, noise)
    generator, span = np.random.default_rng((seed, 1)), stride * (knots - 1)
    halfway = generator.random(count) < 0.5
    first = np.where(halfway, (generator.random(count) * made.arrived).astype(int), 0)
    good = np.flatnonzero(made.good & (made.arrived - first < span))
    steps = first[good, None] + stride * np.arange(knots)
    last = made.run.positions.shape[1] - 1
    actions = np.concatenate([np.zeros_like(made.run.actions[:, :1]), made.run.actions.cumsum(1)], 1)
    at, before = steps.clip(max=last), (steps - stride).clip(0, last)
    rows = good[:, None]
    pushed = (actions[rows, at] - actions[rows, before]) / stride
    whole = np.concatenate([made.run.positions[rows, at], made.run.velocities[rows, at], pushed], -1)
    whole[steps > last, 2:] = 0.0  # longer than the longest drive: at rest
    whole[:, -1, :2], whole[:, -1, 2:] = made.ends[good, 1], 0.0
    whole[first[good] == 0, 0, 2:] = 0.0
    return Demonstrations(whole.astype(np.float32), float(1 - len(good) / count))


def drives(maze: Maze, count: int, seed: int = 0, noise: float = 0.12) -> Drives:
    """Drive `count` times from a random start to a random goal.

    Way points are wall corners with a clearance of .14 to .26 cells, routes are shortest for lengths that are 6 % off,
    speeds are 1.6 to 2.1 cells a second, and the acceleration is noisy.

    Args:
        maze: where.
        count: of the runs.
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
    return Drives(run, ends, arrived, good)
