"""Arrays in the files of many fields: npy, npz, MAT, classic NetCDF, HDF5 and NIfTI, where readers are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from guidekit.io.archives import npz, reason
from guidekit.io.contents import MOST_BYTES, ordinary

NAMES = ("y", "measurement", "mask", "x", "states", "images", "arr_0")
"""Of arrays that are taken where a file holds several; one that is alone may have any name."""


class Array(NamedTuple):
    """What a file held: numbers (float64), and their unit, where the file says it; None where its format cannot."""

    values: np.ndarray
    unit: str | None = None


def readable(path: str | Path) -> bool:
    """Whether the suffix is one of an array file."""
    return suffix(path) in READERS


def suffix(path: str | Path) -> str:
    """The suffix in small letters, .nii.gz as a whole."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def read_array(path: str | Path) -> Array:
    """The array of a file.

    Raises:
        ValueError: no such file, another kind of file, a reader that is not installed, a damaged file, several arrays
            none of which is named as in `NAMES`, numbers that are no numbers, or a volume that is not in RAS
            orientation or has no unit of length.
    """
    file = ordinary(path)
    if not readable(file):
        raise ValueError(f"{file.name} has suffix {file.suffix!r}; arrays are read from {', '.join(READERS)}")
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"{file.name} has {file.stat().st_size >> 20:,} MiB; at most {MOST_BYTES >> 20:,} are read")
    try:
        found = READERS[suffix(file)](file)
    except _Told:
        raise
    except Exception as error:  # each reader says in its own way that it cannot go on
        raise ValueError(f"{file.name} is damaged or no {suffix(file)} file ({reason(error)})") from error
    values = np.asarray(found.values)
    if values.dtype.kind == "c":
        raise ValueError(f"{file.name} holds complex numbers; save real and imaginary parts as two channels")
    if values.dtype.kind not in "biuf" or values.size == 0:
        raise ValueError(f"{file.name} holds {values.dtype} of shape {values.shape}; numbers are expected")
    return Array(values.astype(np.float64), found.unit)


class _Told(ValueError):
    """A line that is complete."""


def reader(name: str, file: Path) -> Any:
    """The library that reads a file; raises ValueError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise _Told(f"reading {file.name} needs {package}: pip install {package}; or save the array as npy") from error


def _one(held: dict[str, Any], file: Path) -> Any:
    """The array that is meant."""
    if len(held) == 1:
        return next(iter(held.values()))
    for name in NAMES:
        if name in held:
            return held[name]
    raise _Told(f"{file.name} holds {', '.join(held) or 'no arrays'}; name the one that is meant {NAMES[0]!r}")


def _npy(file: Path) -> Array:
    return Array(np.array(np.load(file, mmap_mode="r", allow_pickle=False)))


def _npz(file: Path) -> Array:
    names = npz(file, ())[1].split(", ")
    held, _ = npz(file, names)
    return Array(_one(held, file))


def _mat(file: Path) -> Array:
    module = reader("scipy.io", file)
    if file.read_bytes()[:512].find(b"MATLAB 7.3") >= 0:
        return _hdf(file)
    found = module.loadmat(file)
    held = {name: one for name, one in found.items() if not name.startswith("__") and isinstance(one, np.ndarray)}
    return Array(_one(held, file))


def _netcdf(file: Path) -> Array:
    if file.read_bytes()[:4] == b"\x89HDF":
        return _hdf(file)
    with reader("scipy.io", file).netcdf_file(file, "r", mmap=False, maskandscale=True) as data:
        held = {name: one for name, one in data.variables.items() if one.dimensions != (name,)}
        variable = _one(held, file)
        values = np.ma.filled(np.ma.asarray(variable[:]).astype(np.float64), np.nan)
        return Array(values, _text(getattr(variable, "units", "")))


def _hdf(file: Path) -> Array:
    h5py = reader("h5py", file)
    held: dict[str, Any] = {}
    with h5py.File(file, "r") as data:
        data.visititems(lambda name, one: held.update({name: one}) if isinstance(one, h5py.Dataset) else None)
        grids = {name: one for name, one in held.items() if one.ndim > 1} or held
        chosen = _one(grids, file)
        return Array(np.asarray(chosen[()]), _text(chosen.attrs.get("units", "")))


def _nifti(file: Path) -> Array:
    nibabel = reader("nibabel", file)
    image = nibabel.load(file)
    codes = "".join(nibabel.aff2axcodes(image.affine))
    if codes != "RAS":
        raise _Told(
            f"{file.name} is oriented {codes}; RAS is expected (right, front, up): nibabel.as_closest_canonical(image)"
        )
    length = image.header.get_xyzt_units()[0]
    if length == "unknown":
        raise _Told(f"{file.name} says no unit of length; set it: image.header.set_xyzt_units('mm')")
    return Array(np.asarray(image.dataobj))


def _text(value: Any) -> str:
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()


READERS: dict[str, Callable[[Path], Array]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".mat": _mat,
    ".nc": _netcdf,
    ".h5": _hdf,
    ".hdf5": _hdf,
    ".nii": _nifti,
    ".nii.gz": _nifti,
}
"""By suffix."""
