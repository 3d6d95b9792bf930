"""Keyed randomness: a draw is a function of (seed, block, key, purpose), never of the batch it was made in.

A block is 64 consecutive groups. A batch that holds a part of a block draws the numbers of the whole block and keeps
its rows, so results do not depend on batch size, chunking, resumption or on what else was drawn before. Small draws of
consecutive planned steps are made together, which spares the cost of seeding a generator a step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from guidekit.core.step import Key

BLOCK = 64
JOINED = 1 << 14
"""Numbers of one block drawn at once: those of consecutive planned steps are joined up to this size."""


def keyed_generator(device: torch.device | str, *key: object) -> torch.Generator:
    """A generator seeded by a hash of the key."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


class KeyedRandom:
    """Random numbers for the groups first .. first + groups - 1 of a run.

    Normal numbers are drawn in float32, whatever the run computes in.

    Args:
        seed: of the run.
        first: index of the first group of this batch within the run.
        groups: number of groups P.
        device: where the numbers are made.
    """

    def __init__(self, seed: int, first: int, groups: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.first, self.groups, self.device = seed, first, groups, torch.device(device)
        self._joined: dict[tuple, tuple[int, Sequence[Tensor]]] = {}

    def numbers(self, kind: str, key: Key, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Numbers (P * k, *S) for a shape of that many rows; kind is "normal" or "uniform"."""
        if len(key) > 1 or key[0] < 0:
            return self._blocks(kind, (*key, purpose), shape, 1)[0]
        first, joined = self._joined.get((kind, purpose, shape), (0, ()))
        if not first <= key[0] < first + len(joined):
            span = max(1, min(64, JOINED * self.groups // (BLOCK * math.prod(shape) or 1)))
            first = key[0] // span * span
            joined = self._blocks(kind, (first, span, purpose), shape, span)
            self._joined[kind, purpose, shape] = (first, joined)
        return joined[key[0] - first]

    def _blocks(self, kind: str, key: Key, shape: tuple[int, ...], span: int) -> Sequence[Tensor]:
        """`span` times numbers of the given shape."""
        per_group = (span, BLOCK, shape[0] // self.groups, *shape[1:])
        begin, end = self.first // BLOCK, (self.first + self.groups - 1) // BLOCK + 1
        blocks = [self._block(kind, (self.seed, block, *key), per_group) for block in range(begin, end)]
        start = self.first - begin * BLOCK
        joined = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)
        return joined[:, start : start + self.groups].reshape(span, *shape).unbind()

    def _block(self, kind: str, key: Key, shape: tuple[int, ...]) -> Tensor:
        generator = keyed_generator(self.device, kind, key, shape)
        if kind == "normal":
            return torch.randn(shape, generator=generator, device=self.device)
        return torch.rand(shape, generator=generator, dtype=torch.float64, device=self.device)


@dataclass(frozen=True)
class Draw:
    """The numbers that one purpose may draw in one step; rows in the order of the population."""

    random: KeyedRandom
    key: Key
    purpose: str

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape and dtype of `like` (B, *S)."""
        numbers = self.random.numbers("normal", self.key, self.purpose, tuple(like.shape))
        return numbers if like.dtype is torch.float32 else numbers.to(like.dtype)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers uniform on [0, 1) in float64; the first extent is a multiple of the number of groups."""
        return self.random.numbers("uniform", self.key, self.purpose, shape)

    def named(self, name: str) -> Draw:
        """Independent numbers for a part of the purpose."""
        return replace(self, purpose=f"{self.purpose}/{name}")


def pick(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Indices (...) drawn from log_probs (..., C), not necessarily normalized, by inverse CDF in float64.

    One uniform number a draw instead of C Gumbel numbers; float64 because float32 truncates the tails, which lowers the
    effective temperature (Zheng et al. 2024, arXiv:2409.02908).
    """
    cdf = (log_probs.double() - log_probs.amax(-1, keepdim=True)).exp().cumsum(-1)
    # `right`: a point that falls on an edge belongs to the next category, so probability zero is never drawn.
    found = torch.searchsorted(cdf, (uniform * cdf[..., -1])[..., None], right=True)
    return found[..., 0].clamp_max(log_probs.shape[-1] - 1)
