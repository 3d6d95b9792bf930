"""Pairs of samples for measures of diversity."""

from __future__ import annotations

import torch
from torch import Tensor


def random_pairs(n: int, most: int) -> tuple[Tensor, Tensor]:
    """Indices of pairs of different ones of n >= 2: all pairs, or `most` at random (seed 0) where there are more."""
    if n * (n - 1) // 2 <= most:
        first, second = torch.triu_indices(n, n, 1)
        return first, second
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(n, (most,), generator=generator)
    return first, (first + torch.randint(1, n, (most,), generator=generator)) % n
