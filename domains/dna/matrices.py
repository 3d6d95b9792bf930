"""Matrices of motifs in files of the field: JASPAR, MEME, TRANSFAC, or plain rows of numbers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from guidekit.io import contents

FORMATS = {".jaspar": "jaspar", ".pfm": "jaspar", ".meme": "minimal", ".transfac": "transfac"}
MATRICES = (*FORMATS, ".pwm", ".ppm")
SHARES = 100.0
"""Sites that shares (which sum to 1) are taken to be of."""


def read_matrix(path: Path) -> tuple[str, tuple[tuple[float, ...], ...]]:
    """Name and counts (L, 4) in the order A C G T of the first motif in a file.

    Args:
        path: .jaspar, .pfm (with or without a header), .meme (minimal), .transfac, or .pwm and .ppm: rows of numbers,
            four a row or four rows, counts or shares.

    Raises:
        ValueError: nothing there, or no matrix of numbers that are counts or shares of four bases.
    """
    text, suffix = contents.text(path), path.suffix.lower()
    plain = _numbers(text)
    if plain is None and suffix in FORMATS:
        name, plain = _parsed(path.name, text, FORMATS[suffix])
    else:
        name = path.stem
    if (
        plain is None
        or not plain.size
        or (plain < 0).any()
        or not np.isfinite(plain).all()
        or (plain.sum(1) <= 0).any()
    ):
        raise ValueError(
            f"{path.name} is no matrix of counts or shares of A, C, G, T (log-odds are not read); readable are "
            f"{', '.join(MATRICES)}"
        )
    shares = np.allclose(plain.sum(1), 1, atol=0.02)
    return name, tuple(map(tuple, (plain * (SHARES if shares else 1.0)).tolist()))


def _numbers(text: str) -> np.ndarray | None:
    """Counts (L, 4) of rows of numbers, lines of `>`, `#` and letters in front of a row left out; None where not."""
    lines = [line.strip() for line in text.split("\n")]
    rows = [line.lstrip("ACGTacgt").strip("[] :|").replace(",", " ").split() for line in lines if line[:1] not in "#>"]
    try:
        table = np.array([[float(number) for number in row] for row in rows if row])
    except ValueError:
        return None
    if table.ndim != 2 or 4 not in table.shape:
        return None
    return table if table.shape[1] == 4 and not (len(table) == 4 and _lettered(lines)) else table.T


def _lettered(lines: list[str]) -> bool:
    """Whether the rows are those of A, C, G and T."""
    return [line[0].upper() for line in lines if line[:1].upper() in tuple("ACGT")] == list("ACGT")


def _parsed(name: str, text: str, form: str) -> tuple[str, np.ndarray | None]:
    """Name and counts (L, 4) of the first motif, as Biopython reads them."""
    from Bio import motifs

    try:
        first = motifs.parse(io.StringIO(text), form)[0]
        return str(first.name or name), np.array([first.counts[base] for base in "ACGT"], float).T
    except Exception:  # Biopython says by many kinds that it cannot go on
        return name, None
