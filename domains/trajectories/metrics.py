"""What plans are worth: executed by a controller, beside the shortest way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .mazes import RADIUS, Maze, evenly, least_clearance, lengths
from .routes import Roadmap
from .tracking import Execution, track

STAY = 20
"""Control steps for which a ball must stay at the goal to have arrived."""
FINE = 256
"""Points of a path that is executed: fewer would cut corners."""
NEAR = 0.1
"""Cells from its end within which a ball has come near it."""


def way(plan: np.ndarray) -> np.ndarray:
    """The path (n, 2) of a plan: its points (K, 2), and of a window (K, 6) without the rest at its end."""
    points = np.asarray(plan, float)
    return points if points.shape[1] == 2 else until_near(points[:, :2])


def until_near(points: np.ndarray) -> np.ndarray:
    """Points (K, 2) until they first come within .1 cells of the last one, and that one."""
    near = np.linalg.norm(points - points[-1], axis=1) < NEAR
    return np.concatenate([points[: max(int(near.argmax()), 1)], points[-1:]])


def executed(maze: Maze, paths: Sequence[np.ndarray]) -> Execution:
    """Paths (K, 2) run by the controller, from rest; a resting time is added."""
    return track(maze, np.stack([evenly(path, max(FINE, len(path))) for path in paths]))


def arrived(run: Execution, goals: np.ndarray, radius: float) -> np.ndarray:
    """Whether balls were within the radius of their goals (B, 2) for the last `STAY` steps, (B,)."""
    return (np.linalg.norm(run.last(STAY) - goals[:, None], axis=-1) < radius).all(1)


def until_arrival(run: Execution, goals: np.ndarray) -> np.ndarray:
    """Length of what was run until the ball first came within .1 cells of its goal, (B,)."""
    near = np.linalg.norm(run.positions - goals[:, None], axis=-1) < NEAR
    last = np.where(near.any(1), near.argmax(1), run.positions.shape[1] - 1)
    pieces = np.linalg.norm(np.diff(run.positions, axis=1), axis=-1)
    return np.where(np.arange(pieces.shape[1]) < last[:, None], pieces, 0.0).sum(1)


def judged(maze: Maze, paths: Sequence[np.ndarray | None], radius: float = 0.3) -> list[dict[str, Any]]:
    """One row a path: whether it is valid, free of walls, and what came of its execution.

    Args:
        maze: with its walls.
        paths: (K, 2) in cells, or windows (K, 6), see `way`; None = invalid.
        radius: cells from the goal within which a run has arrived.

    Returns:
        valid, free (the ball never overlaps a wall on the plan), success (arrived and stayed), clean (success without
        touching a wall), length of the plan, ratio (length run over the shortest way; NaN where it is below 2 cells or
        the ball did not arrive), roughness (sum of squared second differences times the number of knots).
    """
    rows: list[dict[str, Any]] = [dict(EMPTY) for _ in paths]
    good = [i for i, path in enumerate(paths) if path is not None]
    if not good:
        return rows
    plans = [way(path) for path in paths if path is not None]
    run, goals, roadmap = executed(maze, plans), np.stack([plan[-1] for plan in plans]), Roadmap(maze)
    success, length = arrived(run, goals, radius), until_arrival(run, goals)
    shortest = [_shortest(roadmap, plan) for plan in plans]
    for k, (i, plan) in enumerate(zip(good, plans, strict=True)):
        counts = success[k] and shortest[k] > 2
        rows[i] = {
            "valid": True,
            "free": bool(least_clearance(plan[None], maze.distance)[0] >= RADIUS - 1e-3),
            "success": bool(success[k]),
            "clean": bool(success[k] and not run.touched[k]),
            "length": float(lengths(plan[None])[0]),
            "ratio": float(length[k] / shortest[k]) if counts else math.nan,
            "roughness": float(len(plan) * np.square(np.diff(plan, n=2, axis=0)).sum()),
        }
    return rows


EMPTY: dict[str, Any] = {
    "valid": False,
    "free": False,
    "success": False,
    "clean": False,
    "length": math.nan,
    "ratio": math.nan,
    "roughness": math.nan,
}
"""The row of what is no path."""


def evaluate(maze: Maze, paths: Sequence[np.ndarray | None], radius: float = 0.3) -> dict[str, float]:
    """Shares and means of `judged`, and the diversity: mean distance of the knots of pairs with equal ends."""
    rows = judged(maze, paths, radius)
    found = {key: float(np.mean([row[key] for row in rows])) for key in ("valid", "free", "success", "clean")}
    for key in ("length", "ratio", "roughness"):
        values = [row[key] for row in rows if math.isfinite(row[key])]
        found[key] = float(np.mean(values)) if values else math.nan
    return {**found, "diversity": diversity([way(path) for path in paths if path is not None])}


def diversity(paths: Sequence[np.ndarray], knots: int = 64) -> float:
    """Mean distance in cells of knots at equal shares of the length, over pairs that share both ends; NaN without."""
    found = []
    even = [evenly(path, knots) for path in paths[:200]]
    for i, one in enumerate(even):
        for other in even[:i]:
            if max(np.linalg.norm(one[0] - other[0]), np.linalg.norm(one[-1] - other[-1])) < 1e-3:
                found.append(np.linalg.norm(one - other, axis=1).mean())
    return float(np.mean(found)) if found else math.nan


def shortest(maze: Maze, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Lengths of the shortest ways between starts and goals (B, 2), (B,); NaN where there is none."""
    roadmap = Roadmap(maze)
    return np.array([_shortest(roadmap, np.stack(ends)) for ends in zip(starts, goals, strict=True)])


def _shortest(roadmap: Roadmap, plan: np.ndarray) -> float:
    """Length of the shortest way between the ends of a plan; NaN where there is none."""
    route = roadmap.routes(plan[:1], plan[-1:])[0]
    if route is None:
        return math.nan
    return float(lengths(np.concatenate([plan[:1], roadmap.nodes[route].reshape(-1, 2), plan[-1:]])[None])[0])
