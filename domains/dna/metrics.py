"""Numbers that describe a set of generated sequences, each beside what real sequences get."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from guidekit.evaluation.checks import check_sets
from guidekit.reporting.ranges import limits

from .alphabet import DNA, Alphabet
from .complexity import longest_run, word_entropy
from .kmers import copied, js_distance, kmer_frequencies, pearson
from .motifs import Motif, hit_counts, load_motif

PAIRS = 100  # random pairs for the edit-distance diversity
COPIED = {"DNA": 20, "protein": 8}
"""k of the memorisation figure: a k-mer so long that chance hardly repeats it in the training data."""


def gc_content(sequence: str) -> float:
    """Share of G and C, 0 to 1."""
    return (sequence.count("G") + sequence.count("C")) / len(sequence)


def evaluate(
    sequences: Sequence[str | None],
    reference: Sequence[str] | None = None,
    training: Sequence[str] | None = None,
    motifs: Sequence[str | Motif] = (),
    alphabet: Alphabet = DNA,
    kmers: Sequence[int] = (3, 4, 5, 6),
    properties: Mapping[str, Callable[[str], float]] | None = None,
) -> dict[str, float | int | str]:
    """Judge generated sequences; 1,000 of 256 bp take seconds.

    Args:
        sequences: upper-case sequences; None counts as invalid.
        reference: real sequences to compare with, better not those trained on; None leaves the comparisons out.
        training: sequences trained on, for `copied`.
        motifs: names or ids of motifs to count (DNA only).
        alphabet: DNA or PROTEIN.
        kmers: word lengths k.
        properties: numbers of one sequence whose mean and distribution are compared; None is gc for DNA.

    Returns:
        n, n_valid, validity: all sequences, those that are not None, their ratio.
        uniqueness: distinct sequences / n_valid.
        pearson_k: correlation, over all possible k-mers, of their frequencies (pooled over sequences, one strand) in
            the samples and in the reference; pearson_k_floor: the same for as many random reference sequences (at
            most half of them, seed 0) against the rest of the reference: what real sequences get.
        js_k, js_k_floor: Jensen-Shannon distance of these frequencies, square root of the divergence in bits, 0 to 1.
        mean_P, w1_P, w1_P_floor: mean of a property (gc) over valid sequences, and the Wasserstein-1 distance of its
            distribution to the reference's, in its own unit.
        longest_run, word_entropy: means of the longest run of one letter, and of the entropy of words of 3 bases (2
            residues) as a share of the largest for the length; with _reference those of the reference.
        low_complexity: share of sequences with a longer run than 99 % of the reference, or a lower entropy of words;
            low_complexity_reference: that of the reference, 1 to 2 %.
        hits_M, hits_M_reference: sites a sequence of motif M with p < 1e-4, both strands.
        diversity, diversity_reference: mean edit distance over the longer length, of 100 random pairs (seed 0).
        copied: mean share of a sequence's 20-mers (8-mers of proteins) that occur anywhere in `training`, on either
            strand of DNA; copied_most: the largest; copied_reference: the mean of the reference. Real genomes repeat
            themselves, so read `copied` against it. 1 is a copied sequence.
        note: sentences on what is to be read with care; only where there is something to say.
        A ratio whose denominator is 0 is NaN.

    Raises:
        ValueError: `sequences` or the reference is empty, or a motif that cannot reach p < 1e-4.
        UnknownNameError: no such motif.
    """
    check_sets("sequences", sequences, reference=reference)
    known = [load_motif(motif) for motif in motifs]
    properties = properties if properties is not None else {"gc": gc_content}
    valid, notes = [s for s in sequences if s], []
    result: dict[str, float | int | str] = {
        "n": len(sequences),
        "n_valid": len(valid),
        "validity": len(valid) / len(sequences),
        "uniqueness": len(set(valid)) / len(valid) if valid else math.nan,
    }
    drawn, rest = _divide(reference or (), len(valid))
    if reference is not None and len(drawn) < len(valid):
        notes.append(f"the floors are of {len(drawn)} reference sequences, the figures of {len(valid)} samples")
    for k in kmers:
        if reference is not None:
            whole = kmer_frequencies(reference, k, alphabet)
            pairs = {"": (kmer_frequencies(valid, k, alphabet), whole)}
            pairs["_floor"] = (kmer_frequencies(drawn, k, alphabet), kmer_frequencies(rest, k, alphabet))
            result |= {f"pearson_{k}{end}": pearson(*pair) for end, pair in pairs.items()}
            result |= {f"js_{k}{end}": js_distance(*pair) for end, pair in pairs.items()}
    for name, measure in properties.items():
        values = [measure(s) for s in valid]
        result[f"mean_{name}"] = float(np.mean(values)) if values else math.nan
        if reference is not None:
            first, second = [measure(s) for s in drawn], [measure(s) for s in rest]
            result[f"w1_{name}"] = wasserstein(values, first + second)
            result[f"w1_{name}_floor"] = wasserstein(first, second)
    runs, words = _complexity(valid, alphabet)
    result |= {"longest_run": _mean(runs), "word_entropy": _mean(words)}
    if reference is not None:
        real_runs, real_words = _complexity(reference, alphabet)
        most, least = limits(real_runs.tolist())[1], limits(real_words.tolist())[0]
        result |= {"longest_run_reference": _mean(real_runs), "word_entropy_reference": _mean(real_words)}
        result["low_complexity"] = float(np.mean((runs > most) | (words < least))) if valid else math.nan
        result["low_complexity_reference"] = float(np.mean((real_runs > most) | (real_words < least)))
    for motif in known:
        result[f"hits_{motif.name}"] = _mean(hit_counts(motif, valid))
        if reference is not None:
            result[f"hits_{motif.name}_reference"] = _mean(hit_counts(motif, reference))
    result["diversity"] = diversity(valid)
    if reference is not None:
        result["diversity_reference"] = diversity(reference)
    if training is not None:
        k = COPIED[alphabet.name]
        shares = copied(valid, training, k, alphabet)
        result |= {"copied": _mean(shares), "copied_most": float(max(shares[~np.isnan(shares)], default=math.nan))}
        if reference is not None:
            result["copied_reference"] = _mean(copied(drawn or reference, training, k, alphabet))
    if notes:
        result["note"] = "; ".join(notes)
    return result


def _complexity(sequences: Sequence[str], alphabet: Alphabet) -> tuple[np.ndarray, np.ndarray]:
    """Longest runs (n,) and entropies of words (n,) of sequences."""
    runs = np.array([longest_run(one) for one in sequences], float)
    return runs, np.array([word_entropy(one, alphabet) for one in sequences], float)


def wasserstein(first: Sequence[float], second: Sequence[float]) -> float:
    """Wasserstein-1 distance of two samples of numbers, the area between their distribution functions; NaN for none."""
    if not len(first) or not len(second):
        return math.nan
    a, b = np.sort(np.asarray(first, float)), np.sort(np.asarray(second, float))
    points = np.sort(np.concatenate([a, b]))
    gap = np.searchsorted(a, points[:-1], "right") / len(a) - np.searchsorted(b, points[:-1], "right") / len(b)
    return float(np.abs(gap) @ np.diff(points))


def diversity(sequences: Sequence[str], pairs: int = PAIRS) -> float:
    """Mean Levenshtein distance / longer length over random pairs (seed 0); NaN for fewer than 2 sequences."""
    from rapidfuzz.distance import Levenshtein

    if len(sequences) < 2:
        return math.nan
    n, draw = len(sequences), random.Random(0)
    if n * (n - 1) // 2 <= pairs:
        chosen = [(i, j) for i in range(n) for j in range(i)]
    else:
        chosen = [(i, j) for i, j in (draw.sample(range(n), 2) for _ in range(pairs))]
    return float(np.mean([Levenshtein.normalized_distance(sequences[i], sequences[j]) for i, j in chosen]))


def _divide(reference: Sequence[str], count: int) -> tuple[list[str], list[str]]:
    """`count` random reference sequences (at most half) and the rest."""
    order = list(range(len(reference)))
    random.Random(0).shuffle(order)
    cut = min(count, len(order) // 2)
    return [reference[i] for i in order[:cut]], [reference[i] for i in order[cut:]]


def _mean(values: np.ndarray) -> float:
    """Mean of the numbers that are not NaN; NaN without any."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
