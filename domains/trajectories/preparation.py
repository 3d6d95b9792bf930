"""Training data of priors of paths: knots, and the description of the future checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.io.files import write_npz

from .codec import PathCodec
from .demonstrations import COUNTS, demonstrate
from .files import PLAIN, read_paths
from .mazes import Maze, evenly, least_clearance
from .tables import Layout


def prepare(path: Path, data: str | None, trainer: Mapping[str, Any], maze: Maze, layout: Layout = PLAIN) -> None:
    """Write what `guidekit.training.array_job` trains a prior of paths from.

    Args:
        path: npz file to write.
        data: file of paths, see `files.read_paths`; None drives demonstrations through the maze.
        trainer: settings of configs/trainer/trajectories.yaml; the last `validation` paths are held out.
        maze: through which they lead.
        layout: of the file.

    Raises:
        ValueError: unreadable data, paths that leave the maze or cross its walls, or too few of them.
    """
    knots, held = trainer["knots"], trainer["validation"]
    if data is None:
        count = trainer["demonstrations"] or COUNTS.get(maze.name, 20_000)
        paths = demonstrate(maze, count, knots).paths
        source = f"{len(paths):,} demonstrations of a planner in maze {maze.name}"
    else:
        read = read_paths(data, layout)
        paths = np.stack([evenly(each, knots) for each in read])
        source = f"{len(paths):,} paths of {Path(data).name}"
        crossing = np.flatnonzero(least_clearance(paths, maze.distance) <= 0)
        if len(crossing):
            raise ValueError(
                f"{data}: {len(crossing)} of {len(paths)} paths cross walls of maze {maze.name} or leave it, the first "
                f"is path {crossing[0]}; points are (x, y) in cells, from the upper left corner"
            )
    if len(paths) < 10 * held:
        raise ValueError(
            f"{len(paths):,} paths are too few to hold out trainer.validation={held} of them; hold out at most "
            f"{len(paths) // 10}"
        )
    units = PathCodec(maze, knots).unit(paths).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(units))
    description = {
        "domain": "trajectories",
        "event_shape": [2, knots],
        "dataset": maze.name,
        "maze": list(maze.rows),
        "card": {"data": source},
    }
    arrays = {"images": units[order[held:]], "val_images": units[order[:held]]}
    write_npz(path, {**arrays, "description": np.array(json.dumps(description))})
