"""What readers of a domain's files have in common: where to look, arrays of an npz, classes, and notes."""

from __future__ import annotations

import io
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from guidekit.errors import UnknownNameError
from guidekit.io.archives import DAMAGED
from guidekit.io.contents import ordinary


def source(path: str | Path, suffixes: Sequence[str], things: str, on_error: str) -> Path:
    """A folder, an npz or an ordinary file with one of the suffixes, which is there.

    Args:
        path: as the user wrote it.
        suffixes: of readable files, besides .npz.
        things: what a folder may hold, for messages.
        on_error: "raise" or "skip".

    Raises:
        ValueError: nothing there, no ordinary file, another kind of file, or another `on_error`.
    """
    path = Path(path)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r}; accepted: raise, skip")
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    if not path.is_dir() and ordinary(path).suffix.lower() not in (".npz", *suffixes):
        raise ValueError(
            f"{path.name} has suffix {path.suffix!r}; readable are .npz, folders of {things} and {', '.join(suffixes)}"
        )
    return path


def files_below(folder: Path, suffixes: Sequence[str], things: str) -> list[Path]:
    """All files with one of the suffixes below a folder, sorted; ValueError without any."""
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    if not found:
        raise ValueError(f"folder {folder} holds no {things}; readable are {', '.join(suffixes)}")
    return found


def folder_classes(folder: Path, files: Sequence[Path]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Class numbers (n,) int64 of files by their sub-folder, -1 for those in none, and its name; None without any."""
    parts = [file.relative_to(folder).parts for file in files]
    classes = tuple(sorted({part[0] for part in parts if len(part) > 1}))
    numbers = [classes.index(part[0]) if len(part) > 1 else -1 for part in parts]
    return (np.array(numbers, np.int64) if classes else None), classes


def npz_classes(arrays: Mapping[str, np.ndarray], count: int, name: str) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Class numbers (n,) int64, -1 for unknown, and class names of the arrays `labels` and `classes`, where they are.

    Raises:
        ValueError: labels that are not `count` whole numbers, or beyond the names.
    """
    labels, names = arrays.get("labels"), arrays.get("classes", np.zeros(0, str))
    if names.ndim != 1:
        raise ValueError(f"{name}: classes have shape {names.shape}; names (K,) are expected")
    classes = tuple(map(str, np.char.decode(names, "utf-8", "replace") if names.dtype.kind == "S" else names))
    if labels is None:
        return None, classes
    if labels.size != count or labels.shape[:1] != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: labels have shape {labels.shape} and type {labels.dtype}; ({count},) whole numbers are expected"
        )
    labels = labels.reshape(count).astype(np.int64)
    refuse_labels(name, labels, len(classes) or None)
    return labels, classes


def refuse_labels(name: str, labels: np.ndarray, count: int | None) -> None:
    """Raise ValueError where a label is none of `count` classes (None: any number from 0) nor -1 (unknown)."""
    if labels.min() < -1 or (count is not None and labels.max() >= count):
        known = "whole numbers from 0" if count is None else f"there are {count} classes; 0 to {count - 1}"
        raise ValueError(
            f"{name}: labels from {labels.min()} to {labels.max()}, and {known} and -1 for unknown are accepted"
        )


def refuse_classes(names: Sequence[str], classes: Sequence[str], what: str) -> None:
    """Raise UnknownNameError (`what`, such as "class of emoji") where a name is none of the classes."""
    for name in names:
        if name not in classes:
            raise UnknownNameError(what, name, classes)


def renumbered(labels: np.ndarray, names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Labels that count `names` as numbers of the same names in `classes`, -1 for others."""
    numbers = [classes.index(name) if name in classes else -1 for name in names]
    return np.array([*numbers, -1], np.int64)[labels]


def packed(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of the package made by `files.write_packed`.

    Raises:
        ValueError: missing or damaged.
    """
    try:
        with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as file:
            return dict(file)
    except (lzma.LZMAError, *DAMAGED) as error:
        raise ValueError(f"{path} is damaged ({error}); restore it from the package") from error


def note(path: str | Path, skipped: Sequence[tuple[str, str]], fate: str, what: str, more: Sequence[str] = ()) -> str:
    """A sentence on what could not be read, with the first reason, and what else is to be said; empty for nothing.

    Args:
        path: what was read.
        skipped: (name, reason) of each.
        fate: "count as invalid" or "are left out".
        what: they are, in the plural.
        more: other notes.
    """
    told = [f"{path}: {len(skipped)} {what} {fate}; the first: {skipped[0][1]}"] if skipped else []
    return "; ".join([*told, *more])
