"""Files that are either complete or not there."""

import io
import lzma
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_atomic(path: str | Path, data: bytes | memoryview) -> None:
    """Write `data` beside `path` and rename, so that a reader sees the old file or the new one, never a half."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
    np.savez_compressed(stream, **{key: np.asarray(array) for key, array in arrays.items()})
    write_atomic(path, stream.getbuffer())


def write_packed(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays into an npz compressed by xz as a whole, for data in a package; `reading.packed` reads it."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_atomic(path, lzma.compress(stream.getvalue(), preset=9 | lzma.PRESET_EXTREME))
