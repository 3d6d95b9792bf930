"""Batches of token sequences of varying length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset


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
    """

    def __init__(
        self,
        tokens: np.ndarray,
        offsets: np.ndarray,
        batch_size: int,
        pad_id: int = 0,
        pool: int = 32,
        seed: int = 0,
        batches: int | None = None,
    ) -> None:
        self.tokens, self.offsets, self.lengths = tokens, offsets, np.diff(offsets)
        self.batch_size, self.pad_id, self.pool, self.seed, self.batches = batch_size, pad_id, pool, seed, batches

    def __iter__(self) -> Iterator[Tensor]:
        """Batches (batch_size, longest) int64."""
        rng = np.random.default_rng(self.seed)
        served = 0
        while True:
            rows = rng.integers(len(self.lengths), size=(self.pool * self.batch_size,))
            rows = rows[np.argsort(self.lengths[rows], kind="stable")].reshape(self.pool, self.batch_size)
            for i in rng.permutation(self.pool):
                if self.batches is not None and served >= self.batches:
                    return
                served += 1
                yield torch.from_numpy(pad(self.tokens, self.offsets, rows[i], self.pad_id))


def pad(tokens: np.ndarray, offsets: np.ndarray, rows: np.ndarray, pad_id: int) -> np.ndarray:
    """The chosen sequences as a rectangle (len(rows), longest) int64, padded at the end."""
    start, length = offsets[rows], offsets[rows + 1] - offsets[rows]
    column = np.arange(length.max())
    inside = column < length[:, None]
    index = np.where(inside, start[:, None] + column, 0)
    return np.where(inside, tokens[index], pad_id).astype(np.int64)
