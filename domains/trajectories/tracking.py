"""A ball that runs along a path: a point mass with walls, and a controller that tracks paths by their length."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from .mazes import RADIUS

TIME_STEP = 0.05
"""Seconds of a control step."""
MOST_ACCELERATION, MOST_SPEED = 8.0, 3.0
"""Cells / s^2 and cells / s, along each axis."""
STIFFNESS, DAMPING = 20.0, 8.0
"""Gains of the controller, 1 / s^2 and 1 / s."""
TURNING, BRAKING, SLOWEST, SPAN = 2.0, 2.0, 0.4, 0.15
"""Cells / s^2 of turns and before them, cells / s of the sharpest one; cells over which a turn is measured."""


class World(Protocol):
    """What can be run into: a `Maze`, or one with obstacles."""

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance to the nearest wall, (...)."""

    def outwards(self, points: np.ndarray) -> np.ndarray:
        """Unit vectors away from it, (..., 2)."""


@dataclasses.dataclass(frozen=True)
class Execution:
    """What happened to B balls in T control steps.

    Args:
        positions, velocities: (B, T + 1, 2), in cells and cells / s.
        actions: (B, T, 2), accelerations as shares of the largest.
        touched: (B,) bool, whether a wall was touched before the end.
        ends: (B,) control steps that belong to each ball; what comes after is the rest of longer runs.
    """

    positions: np.ndarray
    velocities: np.ndarray
    actions: np.ndarray
    touched: np.ndarray
    ends: np.ndarray

    def last(self, steps: int) -> np.ndarray:
        """Positions in each ball's last control steps, (B, steps, 2)."""
        at = np.maximum(self.ends[:, None] - np.arange(steps)[None], 0)
        return self.positions[np.arange(len(at))[:, None], at]


def advance(
    world: World, position: np.ndarray, velocity: np.ndarray, acceleration: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One control step of balls (B, 2), in two halves; walls stop what runs into them and let it slide along.

    Returns:
        positions and velocities (B, 2), and whether a wall was touched, (B,).
    """
    touched = np.zeros(len(position), bool)
    acceleration = np.clip(acceleration, -MOST_ACCELERATION, MOST_ACCELERATION)
    half = TIME_STEP / 2
    for _ in range(2):
        velocity = np.clip(velocity + acceleration * half, -MOST_SPEED, MOST_SPEED)
        position = position + velocity * half
        for _ in range(2):  # a corner has two walls
            distance = world.distance(position)
            inside = distance < RADIUS
            if not inside.any():
                break
            touched |= inside
            normal = world.outwards(position)
            position = position + np.where(inside, RADIUS - distance, 0.0)[:, None] * normal
            towards = np.minimum((velocity * normal).sum(-1), 0.0)
            velocity = velocity - np.where(inside, towards, 0.0)[:, None] * normal
    return position, velocity, touched


def track(
    world: World,
    paths: np.ndarray,
    *,
    speed: float | np.ndarray = 1.8,
    steps: int | None = None,
    braking: float = 1.0,
    careful: bool = True,
    noise: float = 0.0,
    generator: np.random.Generator | None = None,
    position: np.ndarray | None = None,
    velocity: np.ndarray | None = None,
) -> Execution:
    """Run along paths (B, K, 2) under a proportional-derivative controller.

    The reference runs along the length of a path, waits where the ball falls behind, brakes before the end and, where
    it is careful, before turns (see `turning`) and tells the controller how it brakes: most contacts come from
    overshooting close to walls.

    Args:
        world: with its walls.
        paths: in cells.
        speed: wanted, cells / s, a number or (B,).
        steps: control steps; None is enough for each path and six seconds of rest.
        braking: deceleration before the end, cells / s^2.
        careful: slow down before turns.
        noise: of the acceleration, correlated over about seven steps, cells / s^2.
        generator: of the noise.
        position, velocity: at the beginning, (B, 2); None starts at rest where the path starts.
    """
    count, rows = len(paths), np.arange(len(paths))
    pieces = np.linalg.norm(np.diff(paths, axis=1), axis=-1)
    along = np.concatenate([np.zeros((count, 1)), np.cumsum(pieces, 1)], 1)
    total, wanted = along[:, -1], np.broadcast_to(np.asarray(speed, float), (count,))
    limit = turning(paths, along) if careful else None
    seconds = total / wanted if limit is None else (pieces / np.minimum(wanted[:, None], limit[:, 1:])).sum(1)
    ends = (seconds / TIME_STEP + 120).astype(int) if steps is None else np.full(count, steps)
    position = paths[:, 0].copy() if position is None else position.copy()
    velocity = np.zeros((count, 2)) if velocity is None else velocity.copy()
    done, pace = np.zeros(count), np.linalg.norm(velocity, axis=-1)
    positions, velocities, actions = [position], [velocity], []
    touched, pushed = np.zeros(count, bool), np.zeros((count, 2))

    def piece(at: np.ndarray) -> np.ndarray:
        return np.clip((along <= at[:, None]).sum(1) - 1, 0, paths.shape[1] - 2)

    def heading(at: np.ndarray) -> np.ndarray:
        k = piece(at)
        return (paths[rows, k + 1] - paths[rows, k]) / np.maximum(pieces[rows, k], 1e-9)[:, None]

    for number in range(int(ends.max())):
        target = np.minimum(wanted, np.sqrt(2 * braking * np.maximum(total - done, 0)) + 1e-3)
        if limit is not None:
            target = np.minimum(target, limit[rows, piece(done)])
        before = pace
        pace = np.minimum(pace + 4 * TIME_STEP, np.maximum(target, pace - 6 * TIME_STEP))
        k = piece(done)
        length = np.maximum(pieces[rows, k], 1e-9)
        share = np.clip((done - along[rows, k]) / length, 0, 1)[:, None]
        reference = paths[rows, k] + share * (paths[rows, k + 1] - paths[rows, k])
        moving = heading(done) * np.where(done < total, pace, 0)[:, None]
        gap = reference - position
        acceleration = STIFFNESS * gap + DAMPING * (moving - velocity)
        if limit is not None:  # the reference's own: without it a ball that brakes runs ahead, into the wall
            acceleration = acceleration + heading(done) * ((pace - before) / TIME_STEP)[:, None]
        if noise and generator is not None:
            pushed = 0.85 * pushed + noise * generator.standard_normal((count, 2))
            acceleration = acceleration + pushed
        acceleration = np.clip(acceleration, -MOST_ACCELERATION, MOST_ACCELERATION)
        actions.append(acceleration / MOST_ACCELERATION)
        position, velocity, hit = advance(world, position, velocity, acceleration)
        touched |= hit & (number < ends)
        behind = np.linalg.norm(gap, axis=-1) > 0.35
        done = np.where(behind, done, np.minimum(done + pace * TIME_STEP, total))
        positions.append(position)
        velocities.append(velocity)
    places, speeds = np.stack(positions, 1), np.stack(velocities, 1)
    pushes = np.stack(actions, 1) if actions else np.zeros((count, 0, 2))
    return Execution(places, speeds, pushes, touched, ends)


def turning(paths: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Speeds (B, K) in cells / s that the turns of paths (B, K, 2) allow where a ball is, and those ahead of it.

    A turn of curvature k is run at sqrt(TURNING / k); k is the change of heading over SPAN cells.

    Args:
        paths: in cells.
        along: (B, K) length up to each point.
    """
    found = np.empty(along.shape)
    for row, (path, length) in enumerate(zip(paths, along, strict=True)):
        a, b, c = (
            np.stack([np.interp(length + shift, length, path[:, axis]) for axis in (0, 1)], 1)
            for shift in (-SPAN, 0, SPAN)
        )
        back, ahead = b - a, c - b
        angle = np.arctan2(np.abs(back[:, 0] * ahead[:, 1] - back[:, 1] * ahead[:, 0]), (back * ahead).sum(1))
        found[row] = np.maximum(np.sqrt(TURNING * SPAN / np.maximum(angle, 1e-6)), SLOWEST)
    pieces = np.diff(along, axis=1)
    for k in range(pieces.shape[1] - 1, -1, -1):
        found[:, k] = np.minimum(found[:, k], np.sqrt(found[:, k + 1] ** 2 + 2 * BRAKING * pieces[:, k]))
    return found
