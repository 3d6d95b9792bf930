"""Training data of priors of paths: knots, and the description of the future checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from guidekit.io.archives import npz
from guidekit.io.files import write_npz

from .codec import PathCodec
from .demonstrations import COUNTS, STRIDES, demonstrate, windows
from .files import PLAIN, read_paths
from .mazes import Maze, evenly, least_clearance
from .tables import Layout
from .windows import WindowCodec


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
    _write(path, PathCodec(maze, knots).encode(list(paths)), held, source, maze)


def prepare_windows(path: Path, data: str | None, trainer: Mapping[str, Any], maze: Maze) -> None:
    """Write what `guidekit.training.array_job` trains a prior of windows of states and actions from.

    Args:
        path: npz file to write.
        data: npz file with `windows` (n, K, 6), see `WindowCodec`; None drives demonstrations through the maze.
        trainer: settings of configs/trainer/windows.yaml; the last `validation` windows are held out.
        maze: through which they lead.

    Raises:
        ValueError: unreadable data, windows through walls, or too few of them.
    """
    codec = WindowCodec(maze, trainer["knots"], trainer["stride"] or STRIDES.get(maze.name, 2))
    if data is None:
        count = trainer["demonstrations"] or COUNTS.get(maze.name, 20_000)
        made = windows(maze, count, codec.knots, codec.stride)
        found = made.paths
        source = f"{len(found):,} windows of drives of a planner in maze {maze.name}"
    else:
        found = numbers(npz(Path(data), ("windows",))[0].get("windows"), data)
        source = f"{len(found):,} windows of {Path(data).name}"
        crossing = np.flatnonzero(least_clearance(found[..., :2], maze.distance) <= 0)
        if len(crossing):
            raise ValueError(
                f"{data}: {len(crossing)} of {len(found)} windows cross walls of maze {maze.name} or leave it, the "
                f"first is window {crossing[0]}"
            )
    _write(path, codec.encode(list(found)), trainer["validation"], source, maze, stride=codec.stride)


def numbers(given: Any, data: str) -> np.ndarray:
    """The array `windows` of a file; raises ValueError where it is none (n, K, 6)."""
    if given is None or given.ndim != 3 or given.shape[2] != 6:
        told = "no array windows" if given is None else f"windows of shape {given.shape}"
        raise ValueError(f"{data} has {told}; (n, K, 6) is expected: x, y, two velocities, two accelerations")
    return np.asarray(given, float)


def _write(path: Path, states: Tensor, held: int, source: str, maze: Maze, **more: Any) -> None:
    """Write states (n, C, K) in a random order, the first ones held out, and the description of the checkpoint."""
    if len(states) < 10 * held:
        raise ValueError(
            f"{len(states):,} paths are too few to hold out trainer.validation={held} of them; hold out at most "
            f"{len(states) // 10}"
        )
    units = states.numpy().swapaxes(1, 2)[np.random.default_rng(0).permutation(len(states))]
    description = {
        "domain": "trajectories",
        "event_shape": list(states.shape[1:]),
        "dataset": maze.name,
        "maze": list(maze.rows),
        "card": {"data": source},
        **more,
    }
    arrays = {"images": units[held:], "val_images": units[:held]}
    write_npz(path, {**arrays, "description": np.array(json.dumps(description))})
