"""Folders that runs have made: their record, and what in them a run did not write."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guidekit.io.files import sha256

RECORD = "run.json"


def record_of(folder: Path) -> dict[str, Any] | None:
    """The record of the finished run that made a folder; None where there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text()) if (folder / RECORD).is_file() else None
    except (OSError, ValueError):
        return None
    parts = [record.get(key) for key in ("files", "made_by")] if isinstance(record, dict) else [None]
    return record if all(isinstance(part, dict) for part in parts) else None


def contents(folder: Path) -> Iterator[Path]:
    """All files and links under a folder, and folders that hold nothing."""
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in sorted([*files, *links]))
        if not folders and not files and Path(place) != folder:
            yield Path(place)


def hashes(folder: Path, paths: Iterator[Path] | list[Path]) -> dict[str, str]:
    """Hashes of files by their place in a folder."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(paths)}


def foreign(folder: Path) -> list[Path]:
    """What the run that made a folder did not write, or did not leave as it is now."""
    listed = (record_of(folder) or {"files": {}})["files"]
    found = []
    for path in contents(folder):
        name = path.relative_to(folder).as_posix()
        ordinary = path.is_file() and not path.is_symlink()
        if not ordinary or (name != RECORD and (name not in listed or sha256(path) != listed[name])):
            found.append(path)
    return found


def missing(folder: Path) -> list[str]:
    """Files of the run that made a folder which are not there any more."""
    return [name for name in (record_of(folder) or {"files": {}})["files"] if not (folder / name).is_file()]


def remove_made(folder: Path) -> None:
    """Remove what a run wrote, the record last; everything else stays, and so does the folder then."""
    kept = {*foreign(folder), folder / RECORD}
    for path in [*contents(folder)]:
        if path not in kept:
            path.unlink()
    if kept == {folder / RECORD}:
        (folder / RECORD).unlink(missing_ok=True)
    remove_empty(folder)


def remove_empty(folder: Path) -> None:
    """Remove the empty folders in a folder, and itself if it becomes empty."""
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(place)
