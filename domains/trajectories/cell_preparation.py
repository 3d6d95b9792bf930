"""Training data of priors of paths as cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .cells import CellCodec
from .demonstrations import COUNTS, demonstrate
from .files import read_paths

LONGEST = {"u": 8, "medium": 18, "large": 22, "giant": 34}
"""Cells of a state of the shipped mazes; a path through more is left out."""


def prepare_cells(path: Path, data: str | None, trainer: Mapping[str, Any], codec: CellCodec) -> None:
    """Write what `guidekit.training.token_job` trains a prior of cells from.

    Args:
        path: npz file to write.
        data: file of paths, see `files.read_paths`; None drives demonstrations through the maze.
        trainer: settings of configs/trainer/cells.yaml; the last `validation` paths are held out.
        codec: of the maze; its length is that of states.

    Raises:
        ValueError: unreadable data, paths through walls, or too few of them.
    """
    from guidekit.training.token_job import save_prepared  # Lightning takes seconds to import

    held, maze, longest = trainer["validation"], codec.maze, codec.length
    known = trainer["network"]["options"].get("max_length")
    if known is not None and known < longest:
        raise ValueError(f"trainer.network.options.max_length={known}; states of maze {maze.name} have {longest} cells")
    if data is None:
        count = trainer["demonstrations"] or COUNTS.get(maze.name, 20_000)
        paths = [path for path in demonstrate(maze, count).paths]
        source = f"demonstrations of a planner in maze {maze.name}"
    else:
        paths, source = read_paths(data), f"paths of {Path(data).name}"
    ids = [codec.sequence(path) for path in paths]
    if data is not None:
        crossing = [i for i, each in enumerate(ids) if (each < 0).any()]
        if crossing:
            raise ValueError(
                f"{data}: {len(crossing)} of {len(paths)} paths cross walls of maze {maze.name} or leave it, the first "
                f"is path {crossing[0]}; points are (x, y) in cells, from the upper left corner"
            )
    kept = [np.pad(each, (0, longest - len(each)), mode="edge") for each in ids if len(each) <= longest]
    if len(kept) < 10 * held:
        raise ValueError(
            f"{len(kept):,} paths of at most {longest} cells are too few to hold out trainer.validation={held} of "
            f"them; hold out at most {len(kept) // 10}"
        )
    tokens = np.stack(kept)[np.random.default_rng(0).permutation(len(kept))].astype(np.uint16)
    description: dict[str, Any] = {
        "domain": "cells",
        "vocab_size": len(maze.cells),
        "pad_id": None,
        "length_counts": [0] * longest + [1],
        "dataset": maze.name,
        "maze": list(maze.rows),
        "card": {"data": f"{len(kept):,} {source}, as cells"},
    }

    def ragged(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return part.reshape(-1), np.arange(len(part) + 1) * longest

    save_prepared(path, ragged(tokens[held:]), ragged(tokens[:held]), description)
