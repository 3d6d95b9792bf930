"""Antimicrobial peptides: a logistic regression on amino-acid composition, its fit and its cross-validation."""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from guidekit.io.files import write_atomic

from .alphabet import PROTEIN
from .data import ASSETS, antimicrobial_peptides

PENALTY = 1.0
"""Ridge penalty on standardised features; grouped cross-validation is flat from 0.3 to 3 and falls beyond."""


def features(sequences: Sequence[str]) -> np.ndarray:
    """Features (n, 441) of proteins; length is left out, as its effect on peptides would not carry over to proteins.

    Shares of the 20 residues, of the 400 neighbouring pairs and of the residues among the first 20 positions; K and R
    minus D and E, a residue.
    """
    index = {letter: i for i, letter in enumerate(PROTEIN.letters)}
    table = np.zeros((len(sequences), 441))
    for row, text in zip(table, sequences, strict=True):
        ids = np.array([index[letter] for letter in text])
        row[:20] = np.bincount(ids, minlength=20) / len(ids)
        if len(ids) > 1:
            row[20:420] = np.bincount(ids[:-1] * 20 + ids[1:], minlength=400) / (len(ids) - 1)
        start = ids[:20]
        row[420:440] = np.bincount(start, minlength=20) / len(start)
        row[440] = (sum(map(text.count, "KR")) - sum(map(text.count, "DE"))) / len(ids)
    return table


def fit(table: np.ndarray, labels: np.ndarray, penalty: float = PENALTY) -> tuple[np.ndarray, float]:
    """Weights (F,) and intercept of a ridge logistic regression on raw features, by Newton's method.

    Minimises sum_i log(1 + exp(-y_i f_i)) + penalty / 2 |w|^2 with w in units of the features' standard deviations.
    """
    mean, spread = table.mean(0), table.std(0) + 1e-9
    x = np.hstack([(table - mean) / spread, np.ones((len(table), 1))])
    ridge = np.full(x.shape[1], penalty)
    ridge[-1] = 1e-9
    w = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + np.diag(ridge), x.T @ (p - labels) + ridge * w)
        w -= step
        if np.abs(step).max() < 1e-8:
            break
    weights = w[:-1] / spread
    return weights, float(w[-1] - weights @ mean)


def auc(values: np.ndarray, labels: np.ndarray) -> float:
    """Probability that a positive has a larger value than a negative, ties counting one half."""
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = (counts.cumsum() - (counts - 1) / 2)[inverse]
    positive, negative = labels.sum(), (~labels).sum()
    return float((rank[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


def families(sequences: Sequence[str], k: int = 4, share: float = 0.3) -> np.ndarray:
    """Group numbers (n,): linked, also by way of others, are those that share `share` of the smaller one's k-mers."""
    held = [{s[i : i + k] for i in range(len(s) - k + 1)} for s in sequences]
    at = collections.defaultdict(list)
    for i, kmers in enumerate(held):
        for kmer in kmers:
            at[kmer].append(i)
    shared = collections.Counter((i, j) for rows in at.values() for a, i in enumerate(rows) for j in rows[a + 1 :])
    group = list(range(len(sequences)))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for (i, j), count in shared.items():
        if count >= share * min(len(held[i]), len(held[j])):
            first, second = sorted((root(i), root(j)))  # the least index stands for its group
            group[second] = first
    return np.array([root(i) for i in range(len(sequences))])


def cross_validate(penalty: float = PENALTY, folds: int = 5, grouped: bool = True, seed: int = 0) -> float:
    """AUC on held-out folds of the shipped set; grouped: relatives stay together, so none is seen in training."""
    sequences, labels = antimicrobial_peptides()
    table = features(sequences)
    groups = families(sequences) if grouped else np.arange(len(sequences))
    distinct = np.unique(groups)
    fold_of = dict(zip(distinct, np.random.default_rng(seed).permutation(len(distinct)) % folds, strict=True))
    fold = np.array([fold_of[g] for g in groups])
    values = np.zeros(len(sequences))
    for i in range(folds):
        weights, intercept = fit(table[fold != i], labels[fold != i], penalty)
        values[fold == i] = table[fold == i] @ weights + intercept
    return auc(values, labels)


def write_model(path: str | Path = ASSETS / "amp.json") -> None:
    """Fit on the whole shipped set and write the coefficients as JSON."""
    sequences, labels = antimicrobial_peptides()
    weights, intercept = fit(features(sequences), labels)
    model = {"weights": [float(f"{w:.6g}") for w in weights], "intercept": round(intercept, 6)}
    write_atomic(path, json.dumps(model, separators=(",", ":")).encode())


@functools.cache
def load_model() -> tuple[np.ndarray, float]:
    """Shipped weights (441,) and intercept."""
    model = json.loads((ASSETS / "amp.json").read_text())
    return np.array(model["weights"]), model["intercept"]


def probability(sequence: str) -> float:
    """Probability that a peptide is antimicrobial, for equal numbers of both kinds; in (0, 1)."""
    weights, intercept = load_model()
    return float(1 / (1 + np.exp(-(features([sequence])[0] @ weights + intercept))))
