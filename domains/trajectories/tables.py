"""Paths in tables of points: which columns, in which unit, at which times."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.errors import UnknownNameError
from guidekit.io.contents import ordinary, text

NAMES = ("path", "t", "x", "y")
UNEVEN = 0.01
"""Share by which time steps of a path may differ: files round."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the columns of a table mean, and its unit of length.

    Args:
        path, t, x, y: names of columns: number or name of a path, seconds, and the point; path and t may be missing.
        cell: length of a cell of the maze, in the file's unit.
        origin: the upper left corner of the maze, in the file's unit.

    Raises:
        ValueError: a length that is not above 0.
    """

    path: str = "path"
    t: str = "t"
    x: str = "x"
    y: str = "y"
    cell: float = 1.0
    origin: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Refuse a cell that is none."""
        if not 0 < self.cell < np.inf or len(self.origin) != 2:
            raise ValueError(f"cell={self.cell}, origin={list(self.origin)}; a length above 0 and [x, y] are expected")

    @staticmethod
    def of(columns: Mapping[str, str] | None, cell: float, origin: Sequence[float]) -> Layout:
        """From settings; raises `UnknownNameError` for a column that is none of `NAMES`."""
        for name in columns or {}:
            if name not in NAMES:
                raise UnknownNameError("column of a path", str(name), NAMES)
        x, y = origin if len(origin) == 2 else (np.nan, np.nan)
        return Layout(**(columns or {}), cell=cell, origin=(x, y))

    def points(self, values: np.ndarray) -> np.ndarray:
        """Points (..., 2) of a file in cells."""
        return (np.asarray(values, float) - np.array(self.origin)) / self.cell


def from_csv(path: Path, layout: Layout) -> list[np.ndarray]:
    """Paths (n, 2) in the file's unit, of a CSV with a row a point; raises as `split`."""
    rows = list(csv.DictReader(io.StringIO(text(path))))
    if not rows:
        raise ValueError(f"{path} has no rows; the columns {layout.x} and {layout.y} are expected")
    return split(path, {name: [row[name] for row in rows] for name in rows[0] if name is not None}, layout, first=2)


def from_parquet(path: Path, layout: Layout) -> list[np.ndarray]:
    """Paths (n, 2) in the file's unit, of a Parquet table with a row a point; raises as `split`."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            f"{path}: Parquet files are read by pyarrow, which is not installed; CSV and NPZ need nothing"
        ) from error
    try:
        table = parquet.read_table(ordinary(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no Parquet file ({str(error).splitlines()[0]})") from error
    return split(path, {name: table[name].to_pylist() for name in table.column_names}, layout)


def split(path: Path, columns: Mapping[str, Sequence[Any]], layout: Layout, first: int = 1) -> list[np.ndarray]:
    """Paths (n, 2) in the order in which they begin.

    Args:
        path: for messages.
        columns: values by name, all of the same length.
        layout: which of them are meant.
        first: number of the first row, for messages.

    Raises:
        UnknownNameError: a column is missing.
        ValueError: a point or a time that is no finite number, times that do not grow, or by steps that differ.
    """
    for wanted in (layout.x, layout.y, *(name for name in (layout.path, layout.t) if name not in ("path", "t"))):
        if wanted not in columns:
            raise UnknownNameError(f"column of {path.name}", wanted, columns)
    names = columns.get(layout.path, [""] * len(columns[layout.x]))
    points = np.stack([_numbers(path, columns[name], name, first) for name in (layout.x, layout.y)], 1)
    groups: dict[Any, list[int]] = {}
    for row, name in enumerate(names):
        groups.setdefault(name, []).append(row)
    if layout.t in columns:
        times = _numbers(path, columns[layout.t], layout.t, first)
        for name, rows in groups.items():
            _check_times(path, name, times[rows], layout.t, rows, first)
    return [points[rows] for rows in groups.values()]


def _numbers(path: Path, values: Sequence[Any], name: str, first: int) -> np.ndarray:
    """A column as finite numbers."""
    found = np.empty(len(values))
    for row, value in enumerate(values):
        try:
            found[row] = float(value)
        except (TypeError, ValueError):
            found[row] = np.nan
        if not np.isfinite(found[row]):
            raise ValueError(f"{path}, row {row + first}: {name}={value!r} is no finite number; leave such points out")
    return found


def _check_times(path: Path, name: Any, times: np.ndarray, column: str, rows: Sequence[int], first: int) -> None:
    """Raise ValueError for times of a path that do not grow by equal steps."""
    steps = np.diff(times)
    if len(steps) == 0:
        return
    usual = float(np.median(steps))
    wrong = np.flatnonzero((steps <= 0) | (np.abs(steps - usual) > UNEVEN * abs(usual)))
    if len(wrong):
        row, step = rows[int(wrong[0]) + 1] + first, steps[wrong[0]]
        raise ValueError(
            f"{path}, row {row}: {column} of path {name!r} grows by {step:.4g} where most steps are {usual:.4g}; "
            f"sample it evenly, or rename the column {column} if times do not matter"
        )
