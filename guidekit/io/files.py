"""Files that are either complete or not there."""

import contextlib
import hashlib
import io
import lzma
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PART = ".part"
"""Ending of the name of a file that is being written; one that is left over was cut short by a kill."""


def write_atomic(path: str | Path, data: bytes | memoryview) -> None:
    """Write `data` beside `path` and rename, so that a reader sees the old file or the new one, never a half.

    It survives a power cut, a link is written through, and the file gets the permissions of the user's umask.
    """
    path = Path(os.path.realpath(path))
    part = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:8]}{PART}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: str | Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; passed over where a file system cannot do it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: str | Path) -> str:
    """Hash of a file, for records."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_each(
    folder: str | Path, things: Sequence[Any], made: Callable[[Any], bytes], pattern: str, names: Sequence[str] | None
) -> list[str]:
    """Write a file for every thing into a folder, made where it is missing; returns the file names.

    Args:
        folder: where to.
        things: what is written.
        made: the bytes of a thing.
        pattern: of names that are not given, with their suffix: "sample-{:05d}.wav".
        names: of the files, without suffix; None is by pattern.

    Raises:
        ValueError: another number of names.
    """
    if names is not None and len(names) != len(things):
        raise ValueError(f"{len(names)} names for {len(things)} files; give one each")
    suffix = Path(pattern).suffix
    files = [pattern.format(i) if names is None else f"{names[i]}{suffix}" for i in range(len(things))]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for file, thing in zip(files, things, strict=True):
        write_atomic(Path(folder) / file, made(thing))
    return files


def write_npz(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays, and what can be made into some, into a compressed npz, in one step."""
    stream = io.BytesIO()
    made: dict[str, Any] = {key: np.asarray(array) for key, array in arrays.items()}
    np.savez_compressed(stream, **made)
    write_atomic(path, stream.getbuffer())


def write_packed(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays into an npz compressed by xz as a whole, for data in a package; `reading.packed` reads it."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_atomic(path, lzma.compress(stream.getvalue(), preset=9 | lzma.PRESET_EXTREME))
