"""Random numbers that are a function of a row's seed and of their name: no stream, no order, no batch."""

from __future__ import annotations

import hashlib

from torch import Tensor

STEP, FIRST, SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685
"""Odd constants of the mixing function, as signed 64-bit numbers."""


def mixed(z: Tensor) -> Tensor:
    """A bijection of int64 whose output bits depend on all input bits (the finalizer of SplitMix64).

    Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", figure 17.
    """
    for shift, factor in ((30, FIRST), (27, SECOND)):
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def keyed_uniform(seed: Tensor, stream: int, numbers: Tensor) -> Tensor:
    """Numbers in (0, 1), (B, n) float64, one for every (seed, stream, number).

    Args:
        seed: (B,) int64.
        stream: of the purpose.
        numbers: names of the numbers, (n,) or (B, n) int64.
    """
    base = mixed(mixed(seed + STEP) ^ stream)
    bits = mixed(base[:, None] + (numbers + 1) * STEP)
    return (((bits >> 11) & ((1 << 53) - 1)).double() + 0.5) * 2.0**-53


def stream_of(name: str) -> int:
    """The stream of what is called so, a number of 63 bits."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1
