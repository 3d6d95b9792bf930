"""Files of fields: npz, csv grids and the array files of many fields, in the unit of their kind; a bad one is named."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from guidekit.io.archives import npz, reason
from guidekit.io.arrays import READERS, read_array
from guidekit.io.contents import MOST_BYTES, ordinary
from guidekit.io.reading import files_below, source

from .codec import FieldError, check
from .data import Kind

SUFFIXES = (".csv", *(suffix for suffix in READERS if suffix != ".npz"))
NAMES = ("fields", "images", "tiles", "vorticity", "air_temperature", "arr_0")
"""Of arrays in an npz, the first that is there."""
SAME_UNITS = {
    "m": ("m", "meter", "meters", "metre", "metres"),
    "°C": ("°C", "degC", "deg C", "celsius", "degrees_C", "degree_Celsius", "C"),
    "1/s": ("1/s", "s-1", "s^-1", "s**-1"),
    "grey levels": ("grey levels", "1"),
}


class ReadResult(NamedTuple):
    """What a file or folder held.

    Attributes:
        fields: (H, W) float32, in the unit of the kind.
        skipped: (name, reason) of what could not be read.
        notes: what is odd.
    """

    fields: list[np.ndarray]
    skipped: list[tuple[str, str]]
    notes: list[str]


def read(path: str | Path, kind: Kind, on_error: str = "raise") -> ReadResult:
    """Read an npz or another array file of fields (n, H, W) or (H, W), a csv grid, or a folder of them.

    Args:
        path: file or folder.
        kind: whose size and unit the fields have.
        on_error: "raise" stops at the first bad field, "skip" lists it in `skipped`.

    Raises:
        ValueError: nothing there, another kind of file, a damaged one, no field in it, or a bad field (see on_error).
    """
    path = source(path, SUFFIXES, "fields", on_error)
    files = files_below(path, (".npz", *SUFFIXES), "fields") if path.is_dir() else [path]
    found, skipped, notes = [], [], []
    for file in files:
        name = file.name if file == path else str(file.relative_to(path))
        try:
            arrays, told = _arrays(file, kind)
            notes += [f"{name}: {told}"] if told else []
        except ValueError as error:
            if on_error == "raise":
                raise
            skipped.append((name, str(error)))
            continue
        for i, array in enumerate(arrays):
            try:
                found.append(check(array, kind.size, name if len(arrays) == 1 else f"{name}, field {i}"))
            except FieldError as error:
                if on_error == "raise":
                    raise
                skipped.append((f"{name}, field {i}", str(error)))
    if not found and not skipped:
        raise ValueError(f"{path.name} holds no fields")
    return ReadResult(found, skipped, notes)


def _arrays(file: Path, kind: Kind) -> tuple[Sequence[np.ndarray], str]:
    """Fields of a file, and what is odd."""
    suffix = file.suffix.lower()
    array, told = _npz(file) if suffix == ".npz" else _csv(file) if suffix == ".csv" else _measured(file, kind)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (2, 3):
        raise FieldError(f"{file.name} has an array of shape {array.shape}; (H, W) or (n, H, W) is expected")
    return ([array] if array.ndim == 2 else list(array)), told


def _npz(file: Path) -> tuple[np.ndarray, str]:
    arrays, there = npz(file, NAMES)
    for name in NAMES:
        if name in arrays:
            return arrays[name], ""
    raise FieldError(f"{file.name} has arrays {there}; one named {', '.join(NAMES[:-1])} is expected")


def _csv(file: Path) -> tuple[np.ndarray, str]:
    """A grid: a row a line, numbers by commas, no header."""
    if ordinary(file).stat().st_size > MOST_BYTES:
        raise FieldError(f"{file.name} has {file.stat().st_size >> 20:,} MiB; at most {MOST_BYTES >> 20:,} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, on empty files
            return np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.float64), ""
    except ValueError as error:
        raise FieldError(f"{file.name} is no grid of numbers by commas, a row a line ({reason(error)})") from error


def _measured(file: Path, kind: Kind) -> tuple[np.ndarray, str]:
    """An array with its unit, where the file tells one."""
    values, unit = read_array(file)
    if unit is None or unit.strip() in SAME_UNITS[kind.unit]:
        return values, ""
    if unit.strip():
        raise FieldError(f"{file.name} is in {unit}; {kind.quantity} in {kind.unit} is expected: convert it")
    return values, f"it has no unit, {kind.unit} is assumed"


def netcdf(fields: Sequence[np.ndarray], kind: Kind) -> bytes:
    """Fields as a classic NetCDF file with one variable (sample, y, x) and its unit."""
    from guidekit.extras import require

    stream = io.BytesIO()
    data = require("inverse", "scipy.io").netcdf_file(stream, "w")
    for axis, size in zip(("sample", "y", "x"), (len(fields), *kind.size), strict=True):
        data.createDimension(axis, size)
    name = kind.quantity.replace(" ", "_")
    variable = data.createVariable(name, "f4", ("sample", "y", "x"))
    variable[:] = np.stack(fields)
    variable.units = kind.unit.replace("°C", "degC")
    data.flush()
    return stream.getvalue()
