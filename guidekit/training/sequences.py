"""Batches of token sequences of varying length."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

POOL = 32
"""Batches of sequences that are sorted by length together."""


class BucketedSequences(IterableDataset):
    """Endless batches of token sequences of similar length, cut to the longest of the batch.

    A pool of `pool` batches is drawn at random, sorted by length and cut into batches, which are served in random
    order: nearly no padding is computed on, and every sequence is equally likely in every pool.

    Args:
        tokens: all sequences end to end, integers (T,).
        offsets: sequence i is tokens[offsets[i]:offsets[i + 1]], (n + 1,).
        batch_size: sequences a batch.
        pad_id: id written behind the end of a sequence.
        pool: batches sorted together.
        seed: of the order of the data.
        batches: end after this many batches; None runs for ever.
        labels: (n, K) label numbers of the sequences, or None.
        first: batch to begin with; a batch depends on the seed and its number.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        offsets: np.ndarray,
        batch_size: int,
        pad_id: int = 0,
        pool: int = POOL,
        seed: int = 0,
        batches: int | None = None,
        labels: np.ndarray | None = None,
        first: int = 0,
    ) -> None:
        self.tokens, self.offsets, self.lengths = tokens, offsets, np.diff(offsets)
        self.batch_size, self.pad_id, self.pool, self.seed, self.batches = batch_size, pad_id, pool, seed, batches
        self.labels, self.first = labels, first

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches of tokens (batch_size, longest) int64 and labels (batch_size, K)."""
        for number in itertools.count(self.first // self.pool):
            rng = np.random.default_rng((self.seed, number))
            rows = rng.integers(len(self.lengths), size=(self.pool * self.batch_size,))
            rows = rows[np.argsort(self.lengths[rows], kind="stable")].reshape(self.pool, self.batch_size)
            for batch, i in enumerate(rng.permutation(self.pool), number * self.pool):
                if self.batches is not None and batch >= self.first + self.batches:
                    return
                if batch < self.first:
                    continue
                tokens = torch.from_numpy(pad(self.tokens, self.offsets, rows[i], self.pad_id))
                yield tokens, _labels(self.labels, rows[i])


class Windows(IterableDataset):
    """Endless batches of windows at random places of long sequences, each on a random strand.

    Every first label is equally likely (a small genome is seen as often as a large one), and within it every place.

    Args:
        tokens: all sequences end to end, integers (T,).
        offsets: sequence i is tokens[offsets[i]:offsets[i + 1]], (n + 1,); each at least as long as the window.
        batch_size: windows a batch.
        window: tokens a window.
        complement: (V,) id of the complementary token, for the other strand; None keeps the given strand.
        seed: of the order of the data.
        batches: end after this many batches; None runs for ever.
        labels: (n, K) label numbers of the sequences, or None.
        first: batch to begin with; a batch depends on the seed and its number.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        offsets: np.ndarray,
        batch_size: int,
        window: int,
        complement: Sequence[int] | None = None,
        seed: int = 0,
        batches: int | None = None,
        labels: np.ndarray | None = None,
        first: int = 0,
    ) -> None:
        self.tokens, self.offsets, self.batch_size, self.window = tokens, offsets, batch_size, window
        self.complement = None if complement is None else np.asarray(complement)
        self.seed, self.batches, self.labels, self.first = seed, batches, labels, first
        places = np.diff(offsets) - window + 1
        if (places < 1).any():
            raise ValueError(f"sequence {int(places.argmin())} is shorter than the window of {window}")
        groups = np.zeros(len(places), int) if labels is None else labels[:, 0]
        self.groups = [np.flatnonzero(groups == g) for g in np.unique(groups)]
        self.shares = [np.cumsum(places[group] / places[group].sum()) for group in self.groups]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches of tokens (batch_size, window) int64 and labels (batch_size, K)."""
        numbers = itertools.count(self.first)
        for number in numbers if self.batches is None else itertools.islice(numbers, self.batches):
            rng = np.random.default_rng((self.seed, number))
            group = rng.integers(len(self.groups), size=self.batch_size)
            u = rng.random(self.batch_size)
            rows = np.array([self.groups[g][np.searchsorted(self.shares[g], v)] for g, v in zip(group, u, strict=True)])
            places = self.offsets[rows + 1] - self.offsets[rows] - self.window + 1
            begin = self.offsets[rows] + (rng.random(self.batch_size) * places).astype(np.int64)
            tokens = self.tokens[begin[:, None] + np.arange(self.window)].astype(np.int64)
            if self.complement is not None:
                other = rng.random(self.batch_size) < 0.5
                tokens[other] = self.complement[tokens[other]][:, ::-1]
            yield torch.from_numpy(tokens), _labels(self.labels, rows)


def _labels(labels: np.ndarray | None, rows: np.ndarray) -> Tensor | None:
    return None if labels is None else torch.from_numpy(labels[rows].astype(np.int64))


def pad(tokens: np.ndarray, offsets: np.ndarray, rows: np.ndarray, pad_id: int) -> np.ndarray:
    """The chosen sequences as a rectangle (len(rows), longest) int64, padded at the end."""
    start, length = offsets[rows], offsets[rows + 1] - offsets[rows]
    column = np.arange(length.max())
    inside = column < length[:, None]
    index = np.where(inside, start[:, None] + column, 0)
    return np.where(inside, tokens[index], pad_id).astype(np.int64)
