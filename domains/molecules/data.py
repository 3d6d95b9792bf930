"""The shipped MOSES molecules, stored sorted, front-coded and xz-compressed: 3 bytes a molecule.

Front coding: sort the strings bytewise; each line is one character, chr(64 + number of leading characters shared with
the previous string), followed by the rest of the string. Sorted SMILES share long prefixes.
"""

import lzma
import os
import random
from collections.abc import Iterable
from pathlib import Path

from .files import ReadResult, parse, read, write_atomic, write_sdf, write_smi

__all__ = [
    "ASSETS",
    "ReadResult",
    "parse",
    "read",
    "read_front_coded",
    "reference_smiles",
    "training_smiles",
    "write_atomic",
    "write_front_coded",
    "write_sdf",
    "write_smi",
]

ASSETS = Path(__file__).parent / "assets"
SHARED_MAX = 255 - 64  # one latin-1 character holds the shared length
XZ = [
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "lc": 4,
        "lp": 0,
        "pb": 0,
        "dict_size": 64 << 20,
        "nice_len": 273,
    }
]


def write_front_coded(path: str | Path, smiles: Iterable[str]) -> None:
    """Write strings sorted bytewise, front-coded and xz-compressed; about a minute for 1.6 million SMILES.

    Raises:
        ValueError: a string holds a line break or a character outside latin-1.
    """
    lines, previous = [], ""
    for text in sorted(smiles):
        if "\n" in text or not text.isascii() and max(text) > "\xff":
            raise ValueError(f"cannot front-code {text!r}: it holds a line break or a character outside latin-1")
        shared = min(len(os.path.commonprefix([previous, text])), SHARED_MAX)
        lines.append(chr(64 + shared) + text[shared:])
        previous = text
    write_atomic(path, lzma.compress("\n".join(lines).encode("latin-1"), format=lzma.FORMAT_XZ, filters=XZ))


def read_front_coded(path: str | Path) -> list[str]:
    """Strings written by `write_front_coded`, in bytewise order.

    Raises:
        ValueError: the file is cut short, altered, or of another format.
    """
    result, previous = [], ""
    try:
        text = lzma.decompress(Path(path).read_bytes(), format=lzma.FORMAT_XZ).decode("latin-1")
        for line in text.split("\n") if text else ():
            shared = ord(line[0]) - 64
            if not 0 <= shared <= len(previous):
                raise IndexError(f"entry {len(result) + 1} shares {shared} characters of {len(previous)}")
            previous = previous[:shared] + line[1:]
            result.append(previous)
    except (lzma.LZMAError, EOFError, IndexError) as error:
        raise ValueError(f"{path} is damaged or no front-coded file ({error}); restore it from the package") from error
    return result


def training_smiles(path: str | Path | None = None) -> list[str]:
    """Training SMILES: the shipped MOSES set (1,584,663, sorted), a `.front.xz` file, or any file `read` accepts."""
    if path is None:
        return read_front_coded(ASSETS / "moses_train.front.xz")
    return read_front_coded(path) if str(path).endswith(".front.xz") else read(path).smiles


def reference_smiles(n: int | None = None) -> list[str]:
    """The first n (None = all 15,000) of the shipped MOSES test molecules in one fixed shuffled order.

    Raises:
        ValueError: n is negative or larger than the set.
    """
    smiles = read_front_coded(ASSETS / "moses_test.front.xz")
    if n is not None and not 0 <= n <= len(smiles):
        raise ValueError(f"n is {n}; the shipped reference holds {len(smiles)} molecules, ask for 0 to {len(smiles)}")
    random.Random(0).shuffle(smiles)  # the file is sorted, so its head is not a fair sample
    return smiles[:n]
