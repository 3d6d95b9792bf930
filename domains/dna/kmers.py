"""Words of k letters: their frequencies, distances of frequencies, and words copied from training data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .alphabet import DNA, Alphabet


def kmer_codes(sequences: Sequence[str], k: int, alphabet: Alphabet) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all k-mers, base A (the alphabet's size), first letter highest, and the number of their sequence.

    Letters outside the alphabet break a k-mer.
    """
    size = len(alphabet.letters)
    lengths = np.array([len(s) for s in sequences], np.int64)
    letters = np.full(256, -1, np.int64)
    letters[np.frombuffer(alphabet.letters.encode(), np.uint8)] = np.arange(size)
    ids = letters[np.frombuffer("".join(sequences).encode(), np.uint8)]
    owner = np.repeat(np.arange(len(sequences)), lengths)
    count = len(ids) - k + 1
    if count < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    codes, whole = np.zeros(count, np.int64), owner[:count] == owner[k - 1 :]
    for i in range(k):
        part = ids[i : i + count]
        whole &= part >= 0
        codes = codes * size + part
    return codes[whole], owner[:count][whole]


def kmer_frequencies(sequences: Sequence[str], k: int, alphabet: Alphabet = DNA) -> np.ndarray:
    """Shares (A^k,) of all possible k-mers among those of the sequences, pooled; NaN where there is none."""
    counts = np.bincount(kmer_codes(sequences, k, alphabet)[0], minlength=len(alphabet.letters) ** k)
    return counts / counts.sum() if counts.any() else np.full(len(counts), math.nan)


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two vectors; NaN where one of them is constant."""
    a, b = first - first.mean(), second - second.mean()
    norm = math.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else math.nan


def js_distance(first: np.ndarray, second: np.ndarray) -> float:
    """sqrt(JS), JS = H((p + q) / 2) - (H(p) + H(q)) / 2 in bits: 0 for equal laws, 1 for disjoint ones.

    Source: Lin 1991, doi:10.1109/18.61115; Endres & Schindelin 2003, doi:10.1109/TIT.2003.813506 (a metric).
    """
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return math.nan
    middle = (first + second) / 2

    def divergence(p: np.ndarray) -> float:
        at = p > 0
        return float((p[at] * np.log2(p[at] / middle[at])).sum())

    return math.sqrt(max(0.0, (divergence(first) + divergence(second)) / 2))


def copied(
    sequences: Sequence[str], training: Sequence[str], k: int, alphabet: Alphabet = DNA, chunk: int = 4096
) -> np.ndarray:
    """Share (n,) of each sequence's k-mers that occur in `training`, on either strand of DNA; NaN below k letters."""
    codes, owner = kmer_codes(sequences, k, alphabet)
    if alphabet.complement is not None:  # the k-mers of the other strand, in the same places
        size = np.int64(len(alphabet.letters))
        other, left = np.zeros_like(codes), codes.copy()
        for _ in range(k):
            other = other * size + (size - 1 - left % size)
            left //= size
        wanted = np.unique(np.concatenate([codes, other]))
    else:
        wanted = np.unique(codes)
    found = np.zeros(len(wanted), bool)
    for start in range(0, len(training) if len(wanted) else 0, chunk):
        seen = kmer_codes(training[start : start + chunk], k, alphabet)[0]
        at = np.searchsorted(wanted, seen).clip(0, len(wanted) - 1)
        found[at[wanted[at] == seen]] = True
    hit = _lookup(wanted, found, codes)
    if alphabet.complement is not None:
        hit |= _lookup(wanted, found, other)
    total = np.bincount(owner, minlength=len(sequences))
    return np.where(total > 0, np.bincount(owner, hit, len(sequences)) / np.maximum(total, 1), math.nan)


def _lookup(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Values of sorted keys at `wanted`, all of which are among them."""
    return values[np.searchsorted(keys, wanted)]
