"""How near restored states are to the truth."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

EXACT = 120.0
"""Greatest ratio in dB: what differs by less than float32 can tell is the truth."""
NOTHING = 1e-4
"""Share of the usual power of an object below which a part of it has no signal."""
WINDOW = 11
"""Pixels a side of the window of `structural_similarity`, and of the smallest picture it is defined for."""


def signal_to_noise(x: Tensor, truth: Tensor, where: Tensor | None = None, blank: float = 0.0) -> Tensor:
    """10 log10 |truth - blank|^2 / |x - truth|^2 in dB (B,), of states (B, *S) or part of them.

    Nothing but `blank` has 0 dB. `EXACT` where x is the truth. NaN where the truth has nothing in the part, or 40 dB
    less than over all: there is no signal that could be hit or missed.
    """
    part = torch.ones_like(truth) if where is None else where.to(truth).expand_as(truth)
    signal, error = (((one * part).square()).flatten(1).sum(1).double() for one in (truth - blank, x - truth))
    usual = (truth - blank).double().square().flatten(1).mean(1)
    heard = signal > NOTHING * usual * part.flatten(1).sum(1)
    return torch.where(heard, _decibels(signal, error), torch.nan)


def peak_signal_to_noise(x: Tensor, truth: Tensor, size: float) -> Tensor:
    """10 log10 size^2 / mean (x - truth)^2 in dB (B,), with the size of the scale; `EXACT` where x is the truth."""
    error = (x - truth).double().square().flatten(1).mean(1)
    return _decibels(torch.full_like(error, size**2), error)


def _decibels(signal: Tensor, error: Tensor) -> Tensor:
    return 10 * (signal / error).log10().clamp(max=EXACT / 10)


def structural_similarity(x: Tensor, truth: Tensor, size: float) -> Tensor:
    """Mean structural similarity (B,) of pictures (B, C, H, W); NaN for those below 11 pixels a side.

    The window is a Gaussian of deviation 1.5 over 11 pixels, borders mirrored; constants are .01 and .03.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861.
    """
    if min(x.shape[-2:]) < WINDOW:
        return torch.full((len(x),), math.nan, dtype=torch.float64)
    d = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    row = (-0.5 * (d / 1.5) ** 2).exp()
    window = (row[:, None] * row / row.sum() ** 2)[None, None].to(x.device)

    def mean(one: Tensor) -> Tensor:
        padded = functional.pad(one, [WINDOW // 2] * 4, mode="reflect")
        return functional.conv2d(padded.reshape(-1, 1, *padded.shape[-2:]), window).reshape(*one.shape[:2], -1)

    a, b = x.double(), truth.double().expand_as(x)
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    first, second = (0.01 * size) ** 2, (0.03 * size) ** 2
    found = (2 * mean_a * mean_b + first) * (2 * both + second)
    return (found / ((mean_a**2 + mean_b**2 + first) * (var_a + var_b + second))).flatten(1).mean(1)
