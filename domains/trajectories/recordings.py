"""Runs of a robot in HDF5 files, as D4RL and Minari write them: where it was, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from guidekit.io.arrays import reader

KEYS = ("observation", "achieved_goal")
"""Names of the state where observations are a dictionary, as of goal-directed tasks."""


def recorded(path: Path) -> list[np.ndarray]:
    """The first two numbers of every observation, (n, 2) a run.

    D4RL has one long array of `observations` (N, 2 or more) with `terminals` or `timeouts` (N,); Minari has groups
    `episode_0`, `episode_1`, ... with `observations` (n, 2 or more), or a group of them with `observation`.

    Raises:
        ValueError: neither of them; a library that is missing.
    """
    with reader("h5py", path).File(path, "r") as file:
        episodes = sorted((name for name in file if name.startswith("episode_")), key=_number)
        if episodes:
            return [_points(file[name].get("observations"), f"{path}: {name}") for name in episodes]
        if "observations" in file and {"terminals", "timeouts"} & set(file):
            over = [np.asarray(file[name]).ravel() != 0 for name in ("terminals", "timeouts") if name in file]
            return cut(_points(file["observations"], str(path)), np.logical_or.reduce(over), str(path))
        raise ValueError(
            f"{path} has {', '.join(sorted(file)) or 'nothing'}; observations with terminals or timeouts (D4RL), or "
            "groups episode_0, episode_1, ... with observations (Minari) are expected"
        )


def cut(points: np.ndarray, over: np.ndarray, what: str) -> list[np.ndarray]:
    """Runs (n, 2), two points at least, of points (N, 2) after each of which a run is over or not, (N,).

    Raises:
        ValueError: as many of one as of the other are expected.
    """
    if over.shape != points.shape[:1]:
        raise ValueError(f"{what}: {len(points)} observations and ends {over.shape}; as many of both are expected")
    return [piece for piece in np.split(points, np.flatnonzero(over) + 1) if len(piece) > 1]


def _points(given: Any, what: str) -> np.ndarray:
    """The first two columns of an HDF5 array, or of the state among a group of them."""
    if given is not None and not hasattr(given, "shape"):
        given = next((given[key] for key in KEYS if key in given), None)
    if given is None or given.ndim != 2 or given.shape[1] < 2:
        told = "no observations" if given is None else f"observations of shape {given.shape}"
        raise ValueError(f"{what} has {told}; (n, 2 or more) is expected, x and y first")
    return np.asarray(given[:, :2]).astype(float)


def _number(name: str) -> int:
    """Of an episode, by which they are ordered."""
    rest = name.removeprefix("episode_")
    return int(rest) if rest.isdigit() else -1
