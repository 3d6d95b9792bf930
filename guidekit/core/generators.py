"""Keyed randomness: a draw is a function of (seed, block, step, purpose), never of the batch it was made in.

A block is 64 consecutive groups. A batch that holds part of a block draws the noise of the whole block and keeps its
rows, so results do not depend on batch size, chunking, resumption or on what else was drawn before. Small draws are
made for several steps at once, which spares the cost of seeding a generator a step.
"""

from __future__ import annotations

import dataclasses
import hashlib

import torch
from torch import Tensor

BLOCK = 64
CHUNK = 1 << 16
"""Numbers drawn at once per block: draws for several steps are joined up to this size."""


def keyed_generator(device: torch.device | str, *key: object) -> torch.Generator:
    """A generator seeded by a hash of the key."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


class KeyedRandom:
    """Random numbers for the groups first .. first + groups - 1 of a run.

    Args:
        seed: of the run.
        first: index of the first group within the run.
        groups: number of groups P.
        device: where the numbers are made.
    """

    def __init__(self, seed: int, first: int, groups: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.first, self.groups, self.device = seed, first, groups, device
        self._joined: dict[tuple, tuple[int, Tensor]] = {}

    def draw(self, kind: str, step: int, purpose: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Numbers (P, *shape); kind is "normal" or "uniform" (in [0, 1))."""
        size = BLOCK
        for extent in shape:
            size *= extent
        span = min(16, max(1, CHUNK // max(1, size)))
        key = (kind, purpose, shape, str(dtype))
        part, within = divmod(step, span)
        held = self._joined.get(key)
        if held is None or held[0] != part:
            held = (part, self._make(key, part, (span, BLOCK, *shape), dtype))
            if span > 1:
                self._joined[key] = held
        return held[1][within]

    def _make(self, key: tuple, part: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        make = torch.randn if key[0] == "normal" else torch.rand
        begin, end = self.first // BLOCK, (self.first + self.groups - 1) // BLOCK + 1
        blocks = [
            make(
                shape,
                generator=keyed_generator(self.device, self.seed, b, part, *key),
                dtype=dtype,
                device=self.device,
            )
            for b in range(begin, end)
        ]
        start = self.first - begin * BLOCK
        return (blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1))[:, start : start + self.groups]


@dataclasses.dataclass(frozen=True)
class Draw:
    """The draws one purpose may make at one step, with rows in population order (P * K, ...).

    Args:
        random: the run's keyed randomness.
        step: index of the step, -1 before the first.
        purpose: name of what the numbers are for; different purposes are independent.
    """

    random: KeyedRandom
    step: int
    purpose: str

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal numbers of the given shape, rows = groups x particles."""
        return self._rows("normal", shape, dtype)

    def uniform(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
        """Numbers uniform on [0, 1) of the given shape, rows = groups x particles."""
        return self._rows("uniform", shape, dtype)

    def named(self, name: str) -> Draw:
        """Independent draws of the same step, for a part of the purpose."""
        return dataclasses.replace(self, purpose=f"{self.purpose}/{name}")

    def _rows(self, kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        groups = self.random.groups
        per_group = (shape[0] // groups, *shape[1:])
        return self.random.draw(kind, self.step, self.purpose, per_group, dtype).reshape(shape)
