"""What was run as an animated SVG: it needs no library, and any browser plays it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from guidekit.io.files import write_atomic

from .mazes import RADIUS, Maze
from .planning import Drive
from .tracking import TIME_STEP

PIXELS = 48
"""Of a cell."""
COLORS = ("#2f6fb3", "#c98a1b", "#3a8f5c", "#8a4fa3", "#b0413e", "#4d4d4d", "#0e8c8c", "#a35c1f")
REST = 1.0
"""Seconds for which the end is shown before the film begins again."""


def animated(maze: Maze, drive: Drive, path: Path) -> None:
    """Write an SVG of balls that run, with the plan that each follows at the moment.

    Args:
        maze: with its walls.
        drive: what was run; the first few balls are shown.
        path: file to write.
    """
    width, height = maze.size
    steps = max(len(run) for run in drive.positions[: len(COLORS)])
    seconds = steps * TIME_STEP + REST
    shapes = [f'<rect width="{width}" height="{height}" fill="white"/>', _walls(maze)]
    for run, plans, goal, color in zip(drive.positions, drive.plans, drive.goals, COLORS, strict=False):
        starts = [start for start, _ in plans]
        for (start, plan), end in zip(plans, [*starts[1:], len(run) - 1], strict=True):
            shapes.append(_plan(plan, color, start * TIME_STEP / seconds, end * TIME_STEP / seconds, seconds))
        shapes.append(_star(goal, color))
        shapes.append(_ball(run, color, seconds))
    content = "\n".join(shapes)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width * PIXELS}" '
        f'height="{height * PIXELS}">\n{content}\n</svg>\n'
    )
    write_atomic(path, svg.encode())


def _walls(maze: Maze) -> str:
    """All walls as one shape."""
    squares = "".join(f"M{x} {y}h1v1h-1z" for y, x in np.argwhere(maze.walls))
    return f'<path d="{squares}" fill="#c6c6c6" stroke="#c6c6c6" stroke-width=".01"/>'


def _line(points: np.ndarray) -> str:
    return " ".join(f"{x:.3f},{y:.3f}" for x, y in points)


def _plan(plan: np.ndarray, color: str, begin: float, end: float, seconds: float) -> str:
    """A plan that is seen for a share of the film."""
    times = f"0;{begin:.4f};{min(max(end, begin), 1.0):.4f}"
    return (
        f'<polyline points="{_line(plan)}" fill="none" stroke="{color}" stroke-width=".03" opacity="0">'
        f'<animate attributeName="opacity" calcMode="discrete" values="0;.6;0" keyTimes="{times}" '
        f'dur="{seconds:.2f}s" repeatCount="indefinite"/></polyline>'
    )


def _star(goal: np.ndarray, color: str) -> str:
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    size = np.where(np.arange(10) % 2, 0.07, 0.17)[:, None]
    return f'<polygon points="{_line(goal + size * np.stack([np.cos(angle), np.sin(angle)], 1))}" fill="{color}"/>'


def _ball(run: Sequence[np.ndarray] | np.ndarray, color: str, seconds: float) -> str:
    """A ball that runs, every second control step, and its trace."""
    shown = np.asarray(run)[::2]
    times = np.minimum(np.arange(len(shown)) * 2 * TIME_STEP / seconds, 1.0)
    shown, times = np.concatenate([shown, shown[-1:]]), np.append(times, 1.0)
    at = ";".join(f"{time:.4f}" for time in times)
    moves = "".join(
        f'<animate attributeName="c{axis}" values="{";".join(f"{value:.3f}" for value in shown[:, i])}" '
        f'keyTimes="{at}" dur="{seconds:.2f}s" repeatCount="indefinite"/>'
        for i, axis in enumerate("xy")
    )
    trace = f'<polyline points="{_line(shown)}" fill="none" stroke="{color}" stroke-width=".015" opacity=".35"/>'
    x, y = shown[0]
    return f'{trace}<circle cx="{x:.3f}" cy="{y:.3f}" r="{RADIUS}" fill="{color}">{moves}</circle>'
