"""Transcription-factor motifs: log-odds in bits, exact p-values, scans of both strands."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from guidekit.errors import UnknownNameError

from .alphabet import DNA
from .data import ASSETS
from .iupac import IUPAC
from .matrices import MATRICES, read_matrix

UNIFORM = (0.25, 0.25, 0.25, 0.25)
PSEUDOCOUNT = 0.8
LEAST_WORD = 4
SITES = 100.0
"""Letters of a word of IUPAC letters that is a motif, and how many sites stand behind it."""
STEP = 1e-3
"""Grid (bits) to which scores are rounded where their exact distribution is needed."""


@dataclasses.dataclass(frozen=True)
class Motif:
    """A motif as counts, one row a column of the binding site.

    Args:
        name: of the transcription factor.
        matrix_id: of JASPAR.
        counts: (L, 4) in the order A C G T.
    """

    name: str
    matrix_id: str
    counts: tuple[tuple[float, ...], ...]

    def __len__(self) -> int:
        return len(self.counts)

    def log_odds(self, background: Sequence[float] = UNIFORM, pseudocount: float = PSEUDOCOUNT) -> np.ndarray:
        """Scores (L, 4) in bits: log2 of (count + pseudocount b) / (sum + pseudocount) / b with background b."""
        b = np.asarray(background, np.float64)
        if b.shape != (4,) or (b <= 0).any() or abs(b.sum() - 1) > 1e-6:
            raise ValueError(f"background {tuple(background)} is no law of A, C, G, T; give four positive shares of 1")
        counts = np.asarray(self.counts, np.float64)
        return np.log2((counts + pseudocount * b) / (counts.sum(1, keepdims=True) + pseudocount) / b)

    @property
    def best_score(self) -> float:
        """Largest log-odds (bits) that a site can have, with uniform background."""
        return float(self.log_odds().max(1).sum())


@functools.cache
def library() -> dict[str, Motif]:
    """The shipped motifs by matrix id: JASPAR 2024 CORE vertebrates, the latest version of each (879)."""
    rows = json.loads(gzip.decompress((ASSETS / "jaspar.json.gz").read_bytes()))
    return {
        row["matrix_id"]: Motif(row["name"], row["matrix_id"], tuple(zip(*row["counts"], strict=True))) for row in rows
    }


@functools.cache
def _index() -> dict[str, Motif]:
    """Motifs by upper-case name, matrix id and matrix id without version; of equal names the lowest id."""
    found: dict[str, Motif] = {}
    for matrix_id, motif in sorted(library().items()):
        for key in (motif.name.upper(), matrix_id, matrix_id.split(".")[0]):
            found.setdefault(key, motif)
    return found


def load_motif(name: str | Motif) -> Motif:
    """A motif by name ("CTCF", any case) or matrix id ("MA0139.2", or "MA0139" for the shipped version), or one's own.

    Where several motifs have a name (CTCF has three), it is the one with the lowest id; take the others by their id.
    One's own is a word of at least 4 IUPAC letters ("TGASTCA"), or the file of a matrix (see `matrices.read_matrix`).

    Raises:
        UnknownNameError: no such motif; the message has the nearest names.
        ValueError: a file that is none of a matrix.
    """
    if isinstance(name, Motif):
        return name
    key = str(name).strip().upper()
    if key not in _index():
        own = own_motif(str(name).strip())
        if own is not None:
            return own
        other = _index().get(key.split(".")[0])  # another version of a matrix
        names = {motif.name.upper() for motif in library().values()}
        raise UnknownNameError("motif", key, [other.matrix_id] if other else names)
    return _index()[key]


@functools.lru_cache(maxsize=64)
def own_motif(name: str) -> Motif | None:
    """The motif of a word of IUPAC letters, or of a file; None where the name is neither."""
    if Path(name).suffix.lower() in MATRICES:
        title, counts = read_matrix(Path(name))
        return Motif(title, title, counts)
    word = name.upper()
    if len(word) < LEAST_WORD or set(word) - set(IUPAC) or word.strip("N") != word:
        return None
    rows = [tuple(SITES * (base in IUPAC[letter]) / len(IUPAC[letter]) for base in DNA.letters) for letter in word]
    return Motif(word, word, tuple(rows))


def best_scores(log_odds: Tensor, tokens: Tensor) -> Tensor:
    """Largest log-odds (B,) over positions and strands; minus infinity where an id is no letter (a mask).

    Args:
        log_odds: (L, 4) in bits.
        tokens: (B, N) ids, N >= L.
    """
    scores = scan(log_odds, tokens).amax((1, 2))
    return scores.masked_fill((tokens >= 4).any(1), -math.inf)


def scan(log_odds: Tensor, tokens: Tensor) -> Tensor:
    """Scores (B, 2, N - L + 1) of every site: forward strand, then reverse strand, both at the site's left end.

    Exact in the sense that a row's scores do not depend on the other rows (a sum in fixed order, no convolution).

    Raises:
        ValueError: the sequences are shorter than the motif.
    """
    width, sites = len(log_odds), tokens.shape[1] - len(log_odds) + 1
    if sites < 1:
        raise ValueError(f"sequences of {tokens.shape[1]} letters cannot hold a motif of {width}; take longer ones")
    both = torch.stack([log_odds, log_odds.flip(0, 1)]).to(tokens.device)  # complement of A C G T is the reverse order
    # Two columns at a time: a table of 16 pairs halves the look-ups.
    ids = tokens.clamp_max(3)
    pairs = ids[:, :-1] * 4 + ids[:, 1:] if width > 1 else ids
    total = torch.zeros(2, len(tokens), sites, dtype=both.dtype, device=tokens.device)
    for i in range(0, width - 1, 2):
        table = (both[:, i, :, None] + both[:, i + 1, None, :]).reshape(2, 16)
        at = pairs[:, i : i + sites].reshape(-1)
        for strand in range(2):
            total[strand] += table[strand].index_select(0, at).view(len(tokens), sites)
    if width % 2:
        at = ids[:, width - 1 :].reshape(-1)
        for strand in range(2):
            total[strand] += both[strand, -1].index_select(0, at).view(len(tokens), sites)
    return total.transpose(0, 1)


def rounded(log_odds: np.ndarray) -> np.ndarray:
    """Scores as whole multiples of `STEP`, (L, 4) int64."""
    return np.rint(np.asarray(log_odds) / STEP).astype(np.int64)


def distribution(scores: np.ndarray, background: Sequence[float] = UNIFORM) -> tuple[np.ndarray, int]:
    """Law of the summed integer scores of a random site: probabilities (R,) and the sum that the first one is for.

    Column by column: P(s) = sum_a b_a P'(s - w_a). Exact; source: Staden 1989, doi:10.1093/bioinformatics/5.2.89.
    """
    law = np.ones(1)
    for column in scores - scores.min(1, keepdims=True):
        wider = np.zeros(len(law) + column.max())
        for shift, share in zip(column, background, strict=True):
            wider[shift : shift + len(law)] += share * law
        law = wider
    return law, int(scores.min(1).sum())


def threshold(log_odds: np.ndarray, p: float = 1e-4, background: Sequence[float] = UNIFORM) -> int:
    """The least sum of `rounded` scores, in multiples of `STEP`, that a random site reaches with probability below p.

    Raises:
        ValueError: p is not in (0, 1), or not even the best site is so rare.
    """
    if not 0 < p < 1:
        raise ValueError(f"p={p}; a probability between 0 and 1 is needed")
    law, lowest = distribution(rounded(log_odds), background)
    tail = law[::-1].cumsum()[::-1]  # P(score >= s), falling
    rare = np.flatnonzero(tail < p * (1 - 1e-9))  # a tail that is p up to rounding does not lie below it
    if not len(rare) or not law[rare[0] :].any():
        raise ValueError(
            f"p={p:g} is below {tail[-1]:.2g}, the probability of the best site of these {len(log_odds)} columns; "
            "give a larger p or a longer motif"
        )
    return lowest + int(rare[0])


@functools.lru_cache(maxsize=1024)
def rarest(motif: Motif, p: float = 1e-4) -> float:
    """The least of p, 10 p, 100 p, ... that the motif has sites below: the best site of a short one is not so rare."""
    best = distribution(rounded(motif.log_odds()))[0][-1]
    while p <= best:
        p *= 10
    return p


@functools.lru_cache(maxsize=1024)
def _hit_table(motif: Motif, p: float) -> tuple[Tensor, int]:
    scores = motif.log_odds()
    return torch.from_numpy(rounded(scores)), threshold(scores, p)


def find_hits(motif: Motif, tokens: Tensor, p: float = 1e-4) -> Tensor:
    """Where sites of p-value below p begin, (B, 2, N - L + 1) bool, forward and reverse strand.

    A site's score is the sum of its rounded log-odds, so that "below p" is exact for uniform letters. A site that
    reads the same on both strands counts on both.
    """
    table, least = _hit_table(motif, p)
    return (scan(table, tokens) >= least) & (tokens < 4).all(1)[:, None, None]


def hit_counts(motif: str | Motif, sequences: Sequence[str], p: float = 1e-4) -> np.ndarray:
    """Sites of p-value below p on both strands, (n,) int64; sequences may differ in length, short ones have none."""
    motif = load_motif(motif)
    counts = np.zeros(len(sequences), np.int64)
    lengths = np.array([len(s) for s in sequences])
    _hit_table(motif, p)  # refuse an impossible p even where no sequence is long enough
    for length in np.unique(lengths[lengths >= len(motif)]):
        rows = np.flatnonzero(lengths == length)
        for part in np.array_split(rows, -(-len(rows) // 1024)):
            tokens = DNA.encode([sequences[i] for i in part])
            counts[part] = find_hits(motif, tokens, p).sum((1, 2)).numpy()
    return counts
