"""Files for `guidekit examples`: a maze, tracks through it, and a cost of paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from guidekit.examples import MADE, Example

from .demonstrations import demonstrate
from .mazes import Maze

ROWS = (
    "########",
    "#...#..#",
    "#.#.#.##",
    "#.#....#",
    "#.####.#",
    "#......#",
    "########",
)
CELL = 2.0
"""Metres, of the tracks."""
SPEED = 1.8
"""Cells a second."""
COST = '''import numpy as np


def southern(path):
    """Higher the further south a path (64, 2) leads; x and y in cells, y down."""
    return float(np.mean(path[:, 1]))
'''


def tracks(path: Path) -> None:
    """Tracks in metres, a point every quarter of a second, of a ball at an even speed."""
    lines = ["trip,seconds,east,south"]
    for trip, points in enumerate(demonstrate(Maze("maze.txt", ROWS), 260).paths):
        length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        count = max(2, round(4 * length / SPEED))
        along = np.linspace(0, len(points) - 1, count)
        x, y = (np.interp(along, np.arange(len(points)), CELL * points[:, axis]) for axis in (0, 1))
        lines += [f"{trip},{i / 4:g},{x[i]:.3f},{y[i]:.3f}" for i in range(count)]
    path.write_text("\n".join(lines) + "\n")


EXAMPLES = (
    Example(
        "maze.txt",
        "a maze of 8 x 7 cells",
        "guidekit train domain=trajectories domain.maze=maze.txt output=maze.safetensors trainer.demonstrations=20000 "
        "trainer.steps=2800",
        MADE,
        lambda path: path.write_text("\n".join(ROWS) + "\n"),
    ),
    Example(
        "tracks.csv",
        "about 250 tracks through it, in metres (a cell is 2 m), a point every quarter of a second",
        "guidekit train domain=trajectories domain.maze=maze.txt data=tracks.csv "
        "'domain.columns={path: trip, t: seconds, x: east, y: south}' domain.cell=2 trainer.validation=20 "
        "output=tracks.safetensors",
        MADE,
        tracks,
    ),
    Example(
        "costs.py",
        "a reward of your own: a function of a path",
        "guidekit sample domain=trajectories domain.maze=u 'condition={start: [1.5, 1.3], goal: [1.4, 3.6]}' "
        "reward=costs:southern guidance=svdd guidance.candidates=4 num_samples=4 steps=20",
        MADE,
        lambda path: path.write_text(COST),
    ),
)
