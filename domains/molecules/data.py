"""The shipped molecules, MOSES and QM9, stored sorted, front-coded and xz-compressed: 3 bytes a molecule.

Front coding: sort the strings bytewise; each line is one character, chr(64 + number of leading characters shared with
the previous string), followed by the rest of the string. Sorted SMILES share long prefixes.
"""

import lzma
import os
import random
from collections.abc import Iterable
from pathlib import Path

from guidekit.errors import UnknownNameError
from guidekit.io.contents import ordinary, unpacked_limit
from guidekit.io.files import write_atomic

from .files import ReadResult, parse, read, write_sdf, write_smi

__all__ = [
    "ASSETS",
    "ReadResult",
    "is_shipped",
    "parse",
    "qm9_smiles",
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
SETS = ("moses", "qm9")
QM9_HELD = 8_000  # as many as configs/trainer/molecules.yaml holds out
SHARED_MAX = 255 - 64  # one latin-1 character holds the shared length
MOST_MEMORY = 256 << 20  # bytes for unpacking
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
    result: list[str] = []
    previous = ""
    try:
        text = _unpacked(ordinary(path)).decode("latin-1")
        for line in text.split("\n") if text else ():
            shared = ord(line[0]) - 64
            if not 0 <= shared <= len(previous):
                raise IndexError(f"entry {len(result) + 1} shares {shared} characters of {len(previous)}")
            previous = previous[:shared] + line[1:]
            result.append(previous)
    except (lzma.LZMAError, EOFError, IndexError) as error:
        raise ValueError(f"{path} is damaged or no front-coded file ({error}); restore it from the package") from error
    return result


def _unpacked(path: Path) -> bytes:
    """The contents of an xz file; raises lzma.LZMAError where they are too much, or not whole."""
    raw = path.read_bytes()
    most, decoder = unpacked_limit(len(raw)), lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_MEMORY)
    data = decoder.decompress(raw, most)
    if not decoder.eof:
        raise lzma.LZMAError(f"cut short, or unpacks to more than {most >> 20:,} MiB")
    return data


def is_shipped(data: str | Path | None) -> bool:
    """Whether `data` names a shipped set ("moses", "qm9"; None is MOSES) and not a file."""
    return data is None or data in SETS


def qm9_smiles() -> list[str]:
    """The 130,744 distinct canonical SMILES of QM9, sorted bytewise."""
    return read_front_coded(ASSETS / "qm9.front.xz")


def training_smiles(data: str | Path | None = None) -> list[str]:
    """Training SMILES: "moses" (None; 1,584,663, sorted), "qm9", a `.front.xz` file, or any file `read` accepts."""
    if data == "qm9":
        return qm9_smiles()
    if data is None or is_shipped(data):
        return read_front_coded(ASSETS / "moses_train.front.xz")
    return read_front_coded(data) if str(data).endswith(".front.xz") else read(data).smiles


def shuffled_training_smiles(data: str | Path | None = None) -> list[str]:
    """`training_smiles`, a shipped set in one fixed shuffled order: it is sorted, so its end is no fair sample."""
    smiles = training_smiles(data)
    if is_shipped(data):
        random.Random(0).shuffle(smiles)
    return smiles


def reference_smiles(n: int | None = None, data: str | None = None) -> list[str]:
    """The first n (None = all) of the molecules to compare samples with, in one fixed shuffled order.

    Args:
        n: how many.
        data: "moses" (None): 15,000 molecules of the MOSES test set. "qm9": QM9 has no test set; these are the 8,000
            that `prepare_training` holds out by default, so they count as known for novelty over the whole set.

    Raises:
        UnknownNameError: no shipped set of that name.
        ValueError: n is negative or larger than the set.
    """
    if not is_shipped(data):
        raise UnknownNameError("shipped set of molecules", str(data), SETS)
    if data == "qm9":
        smiles = shuffled_training_smiles("qm9")[-QM9_HELD:]
    else:
        smiles = read_front_coded(ASSETS / "moses_test.front.xz")
        random.Random(0).shuffle(smiles)  # the file is sorted, so its head is not a fair sample
    if n is not None and not 0 <= n <= len(smiles):
        raise ValueError(f"n is {n}; the shipped reference holds {len(smiles)} molecules, ask for 0 to {len(smiles)}")
    return smiles[:n]
