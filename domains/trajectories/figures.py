"""Paths drawn on their maze."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.io.files import write_atomic
from guidekit.reporting.panels import DPI, FAINT, INK, LITERAL

from .mazes import Maze
from .metrics import executed, way

GOOD, BAD, WALLS, OBSTACLES = "#2f6fb3", "#c0392b", "#d9d9d9", "#e0a84a"
MOST = 40
"""Paths of a panel."""


def draw(maze: Maze, panels: Sequence[tuple[str, Sequence[np.ndarray], Sequence[bool]]], path: Path) -> None:
    """Draw paths on the maze, one panel a group: plans as lines, what the controller made of them dotted.

    Args:
        maze: with its walls.
        panels: title, paths (K, 2), and whether each run was clean (blue; red otherwise).
        path: file to write.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = maze.size
    side = min(0.42, 4.5 / max(width, height))
    with rc_context({**LITERAL, "font.family": "DejaVu Sans", "font.size": 8, "text.color": INK}):
        size = (max(3.0, side * width) * len(panels) + 0.3, side * height + 0.5)
        figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (title, paths, clean) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axes.imshow(maze.walls, cmap="Greys", vmin=0, vmax=3, extent=(0, width, height, 0), interpolation="nearest")
            for each in getattr(maze, "obstacles", ()):
                axes.add_patch(_patch(each))
            shown = list(zip(map(way, paths), clean, strict=True))[:MOST]
            runs: Any = executed(maze, [each for each, _ in shown]).positions if shown else []
            for (each, good), run in zip(shown, runs, strict=True):
                axes.plot(each[:, 0], each[:, 1], color=GOOD if good else BAD, lw=1.0, alpha=0.7)
                axes.plot(run[:, 0], run[:, 1], color=INK, lw=0.6, ls=":", alpha=0.5)
                axes.plot(*each[0], "o", color=INK, ms=2.5)
                axes.plot(*each[-1], "*", color=INK, ms=5)
            axes.set_title(title, fontsize=9, loc="left")
            axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
        figure.supxlabel(
            "dots are starts, stars are goals; dotted: as run; red: touched a wall or missed", fontsize=7, color=FAINT
        )
        stream = io.BytesIO()
        figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.08)
    write_atomic(path, stream.getvalue())


def _patch(obstacle: Sequence[float]) -> Any:
    """A disc or a box that is on no map."""
    from matplotlib.patches import Circle, Rectangle

    looks: dict[str, Any] = {"facecolor": OBSTACLES, "edgecolor": "none", "zorder": 0.5}
    if len(obstacle) == 3:
        return Circle((obstacle[0], obstacle[1]), obstacle[2], **looks)
    left, top, right, bottom = obstacle
    return Rectangle((left, top), right - left, bottom - top, **looks)


def titled(name: str, clean: Sequence[bool], values: Sequence[float], label: str) -> str:
    """The title of a panel: how many were clean, and the mean reward where there is one."""
    finite = [value for value in values if math.isfinite(value)]
    told = f", mean {label} {np.mean(finite):.3g}" if finite else ""
    return f"{name}: {sum(clean)} of {len(clean)} clean{told}"
