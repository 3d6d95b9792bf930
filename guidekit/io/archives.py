"""Arrays of npz files. What their headers claim is held against the size of the file before any memory is asked for."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from guidekit.io.contents import ordinary, unpacked_limit

DAMAGED = (
    zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, KeyError, NotImplementedError, MemoryError,
    RecursionError,
)  # fmt: skip
"""What numpy and zipfile raise for an npz that is none."""
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
KINDS = "biufUS"
"""Of numbers and text; others need pickle, or are none that a domain uses."""
MOST_EMPTY = 1 << 16
"""Longest axis of an array without elements, which costs its file nothing."""


def npz(path: str | Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of an npz that have one of the names, and the names of all of them, for messages.

    Raises:
        ValueError: no ordinary file, damaged, no npz, locked by a password, or with arrays of other types than numbers
            and text, or larger than the file can hold.
    """
    path = ordinary(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = {name: members[name] for name in names if name in members}
            _refuse(wanted, path.stat().st_size)
            found = {}
            for name, info in wanted.items():
                with archive.open(info) as file:
                    found[name] = _array(name, file, info.file_size)
            return found, ", ".join(members) or "none"
    except DAMAGED as error:
        raise ValueError(f"{path.name} is damaged or no npz file ({reason(error)})") from error


def reason(error: BaseException) -> str:
    """The first line of an error, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _refuse(members: dict[str, zipfile.ZipInfo], size: int) -> None:
    """Raise ValueError for members that are encrypted or unpack to too much."""
    for name, info in members.items():
        if info.flag_bits & 0x1:
            raise ValueError(f"array {name} is locked by a password; save it without one")
    total, most = sum(info.file_size for info in members.values()), unpacked_limit(size)
    if total > most:
        raise ValueError(f"its arrays unpack to {total >> 20:,} MiB; at most {most >> 20:,} MiB are read of its size")


def _array(name: str, file: IO[bytes], size: int) -> np.ndarray:
    """The array of a member of so many bytes."""
    start = io.BytesIO(file.read(min(size, 1 << 16)))
    version = npy.read_magic(start)
    if version not in HEADERS:
        raise ValueError(f"array {name} has format {version}; 1.0 and 2.0 are accepted")
    shape, fortran, kind = HEADERS[version](start)
    if kind.kind not in KINDS or kind.fields:
        raise ValueError(f"array {name} has type {kind}; numbers and text are accepted")
    count = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or start.tell() + count != size or (not count and max(shape, default=0) > MOST_EMPTY):
        raise ValueError(f"array {name} claims shape {shape} of {kind}, and its data have {size - start.tell()} bytes")
    data = start.read() + file.read()  # to the end, where zipfile compares the checksum
    made = np.frombuffer(bytearray(data), kind, math.prod(shape)).reshape(shape, order="F" if fortran else "C")
    if kind.kind == "U" and not _is_text(np.frombuffer(data, np.dtype(np.uint32).newbyteorder(kind.byteorder))):
        raise ValueError(f"array {name} holds numbers that stand for no character")
    return made


def _is_text(points: np.ndarray) -> bool:
    """Whether code points stand for characters."""
    return bool(((points < 0xD800) | (points > 0xDFFF) & (points < 0x110000)).all())
