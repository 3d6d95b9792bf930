"""Paths in files: NPZ, CSV and GeoJSON."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from guidekit.io.archives import npz
from guidekit.io.contents import text
from guidekit.io.files import write_atomic

from .metrics import way
from .recordings import cut, recorded
from .tables import Layout, from_csv, from_parquet
from .tracking import TIME_STEP

SUFFIXES = (".npz", ".csv", ".parquet", ".geojson", ".json", ".h5", ".hdf5")
PLAIN = Layout()


def read_paths(path: str | Path, layout: Layout = PLAIN) -> list[np.ndarray]:
    """Paths (n, 2) of a file, in cells.

    An npz has `paths` (B, K, 2), `windows` (B, K, 6), read without the rest at their ends, `points` (N, 2) with
    `offsets` (B + 1), or `observations` (N, 2 or more), the point first, with `terminals` or `timeouts` (N,) as in
    D4RL; tables (CSV, Parquet) have columns, a row a point, see
    `Layout`; a GeoJSON has LineStrings; HDF5 has the runs of D4RL or Minari, see `recordings`.

    Raises:
        ValueError: another kind of file, or no path in it; numbers that are not finite, times that are not even.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"{path}: paths are read from {', '.join(SUFFIXES)}")
    if kind in (".csv", ".parquet"):
        found = (from_csv if kind == ".csv" else from_parquet)(path, layout)
    else:
        found = {".npz": _from_npz, ".h5": recorded, ".hdf5": recorded}.get(kind, _from_geojson)(path)
    if not found:
        raise ValueError(f"{path} holds no path")
    for number, points in enumerate(found):
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
            raise ValueError(f"{path}: path {number} has shape {points.shape}; (points, 2), two at least, is expected")
        if not np.isfinite(points).all():
            row = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
            raise ValueError(f"{path}: point {row} of path {number} is not finite; cut the path there")
    return [layout.points(points) for points in found]


def write_paths(folder: Path, paths: Sequence[np.ndarray], numbers: Sequence[int]) -> list[str]:
    """Write points.csv and samples.geojson of paths (K, 2 or more); numbers are the rows of the table of samples."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["path", "x", "y"])
    for number, points in zip(numbers, paths, strict=True):
        table.writerows([number, f"{x:.4f}", f"{y:.4f}"] for x, y in points[:, :2])
    write_atomic(folder / "points.csv", stream.getvalue().encode())
    features = [
        {
            "type": "Feature",
            "properties": {"path": int(number)},
            "geometry": {"type": "LineString", "coordinates": np.round(points[:, :2], 4).tolist()},
        }
        for number, points in zip(numbers, paths, strict=True)
    ]
    collection = json.dumps({"type": "FeatureCollection", "features": features})
    write_atomic(folder / "samples.geojson", collection.encode())
    return ["points.csv", "samples.geojson"]


def write_runs(folder: Path, runs: Sequence[np.ndarray]) -> None:
    """Write runs.csv: number of the run, control step, seconds, x and y."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["path", "step", "t", "x", "y"])
    for number, run in enumerate(runs):
        rows = ([number, step, f"{step * TIME_STEP:.2f}", f"{x:.4f}", f"{y:.4f}"] for step, (x, y) in enumerate(run))
        table.writerows(rows)
    write_atomic(folder / "runs.csv", stream.getvalue().encode())


def _from_npz(path: Path) -> list[np.ndarray]:
    arrays, names = npz(path, ("paths", "windows", "points", "offsets", "observations", "terminals", "timeouts"))
    if "paths" in arrays:
        return [np.asarray(each, float) for each in arrays["paths"]]
    if "windows" in arrays:
        return [way(each) for each in arrays["windows"]]
    if {"points", "offsets"} <= arrays.keys():
        points, offsets = np.asarray(arrays["points"], float), np.asarray(arrays["offsets"], int)
        return [points[a:b] for a, b in itertools.pairwise(offsets)]
    if "observations" in arrays and {"terminals", "timeouts"} & arrays.keys():
        seen = np.asarray(arrays["observations"], float)
        ends = [np.asarray(arrays[name], bool) for name in ("terminals", "timeouts") if name in arrays]
        over = np.logical_or.reduce(ends)
        if seen.ndim != 2 or seen.shape[1] < 2:
            raise ValueError(f"{path}: observations {seen.shape}; (N, 2 or more) are expected, x and y first")
        return cut(seen[:, :2], over, str(path))
    raise ValueError(
        f"{path} has the arrays {names}; paths, points and offsets, or observations and terminals are expected"
    )


def _from_geojson(path: Path) -> list[np.ndarray]:
    try:
        given = json.loads(text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error})") from error
    features = given.get("features", [given]) if isinstance(given, dict) else []
    shapes = [feature.get("geometry", feature) for feature in features if isinstance(feature, dict)]
    lines = [shape for shape in shapes if isinstance(shape, dict) and shape.get("type") == "LineString"]
    try:
        return [np.array([point[:2] for point in line["coordinates"]], dtype=float) for line in lines]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: a LineString has coordinates that are no points") from error
