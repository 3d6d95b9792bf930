"""What a file holds: of ordinary files only, within stated limits, so that none hangs a run or fills its memory."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 4 << 30
"""Of a file's contents, unpacked."""
MOST_PACKED, PACKED_RATIO = 256 << 20, 100
"""A packed file may unpack to so many bytes, or to so many times its own size, whichever is more."""
SEPARATORS = (",", ";", "\t", "|")
MOST_FIELD = 64 << 20
"""Characters of one field of a table."""
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def brief(text: str, most: int = 60) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= most else f"{text[:most]}..."


def ordinary(path: str | Path) -> Path:
    """The path of an ordinary file; reading a pipe or a device might never end.

    Raises:
        ValueError: nothing there, or something else.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(f"there is no file {path}") from error
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "something else")
        raise ValueError(f"{path} is {kind}; an ordinary file is expected")
    return path


def unpacked_limit(size: int) -> int:
    """Bytes that a packed file of so many bytes may unpack to."""
    return min(max(MOST_PACKED, PACKED_RATIO * size), MOST_BYTES)


def contents(path: str | Path) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz.

    Raises:
        ValueError: no ordinary file, too large, or damaged.
    """
    path = ordinary(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path.name} has {size >> 20:,} MiB; at most {MOST_BYTES >> 20:,} MiB are read: split it")
    if path.suffix.lower() != ".gz":
        return path.read_bytes()
    most = unpacked_limit(size)
    try:
        with gzip.open(path) as file:
            data = file.read(most + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is not readable: damaged, or not packed by gzip ({error})") from error
    if len(data) > most:
        raise ValueError(
            f"{path.name} unpacks to more than {most >> 20:,} MiB, the most that is read of a packed file of its size: "
            "unpack or split it"
        )
    return data


def text(path: str | Path) -> str:
    r"""The text of a file in UTF-8, or in UTF-16 with its mark; lines end with \n.

    Raises:
        ValueError: no ordinary file, too large, damaged, or no text.
    """
    data, name = contents(path), Path(path).name
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        made = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not readable as text ({error}); UTF-8 is expected") from error
    if "\0" in made:
        raise ValueError(f"{name} is not readable as text: it holds a zero at character {made.index(chr(0)) + 1}")
    return made.replace("\r\n", "\n").replace("\r", "\n")


def rows(name: str, table: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of the rows of a table that have some.

    Args:
        name: of the file, for messages.
        table: its text.
        separator: between fields.

    Raises:
        ValueError: a quotation mark that is never closed or stands in the wrong place, or a field that is too long.
    """
    before, line = csv.field_size_limit(MOST_FIELD), 1
    reader = csv.reader(io.StringIO(table, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{name} line {line}: no readable table ({error}); fields have at most {MOST_FIELD:,} characters, and "
            "those with quotation marks are wholly within some"
        ) from error
    finally:
        csv.field_size_limit(before)


def separator(table: str, wanted: str, usual: str) -> str:
    """The separator with which the header of a table has the wanted column; the usual one where none does."""
    for one in (usual, *SEPARATORS):
        try:
            if wanted.lower() in map(str.lower, header(rows("", table, one))):
                return one
        except ValueError:
            continue
    return usual


def header(found: Iterator[tuple[int, list[str]]]) -> list[str]:
    """The first row with something in it, of `rows`; empty where there is none."""
    return next((row for row in ([field.strip() for field in row] for _, row in found) if any(row)), [])
