"""From a noisy state to a clean one by a few steps of the probability flow, inside one step of the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.random import Draw

LEAST = 0.01
"""The last noise level of a walk, unless it begins below three times that."""

MOST = 80.0
"""Noise beyond which nothing is seen of data of about unit size, so that no call is spent there."""


def ending(high: float, calls: int) -> list[float]:
    """Levels of the calls after the first, from below `high` to the last, which is nearly clean."""
    return [_level(high, number / (calls - 1)) for number in range(1, calls)]


def halting(high: float, calls: int) -> list[float]:
    """Levels of the calls after the first that cut the way into equal parts: the last call looks from its own."""
    return [_level(min(high, MOST), number / calls) for number in range(1, calls)]


def walked(
    population: Population,
    prediction: Any,
    calls: int,
    order: int,
    draw: Draw | None = None,
    levels: Callable[[float, int], list[float]] = ending,
) -> Tensor:
    """A clean state, (B, *S): where the probability flow leads to, or a draw; the prediction itself for one call.

    Steps of the solver DPM-Solver++ in the levels s / a, whose 7th roots are evenly spaced.

    Args:
        population: whose guided predictions are asked for.
        prediction: where to begin, which counts as the first call.
        calls: predictions in all.
        order: 1, Euler's steps (DDIM), or 2, which use the prediction before.
        draw: of the noise of the reverse diffusion; None follows the flow.
        levels: of the calls after the first, `ending` or `halting`; the latter is closer with few calls.

    Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2 (2M) and section 6 (SDE); levels as in Karras et al. 2022,
    arXiv:2206.00364.
    """
    at: GaussianPrediction = prediction
    a = max(float(at.a), 1e-6)
    x, level = at.x / a, float(at.s) / a
    clean, before, last = at.mean, None, 0.0
    for low in levels(level, calls):
        length = math.log(level / low)
        toward = clean if before is None or order == 1 else clean + length / (2 * last) * (clean - before)
        share = low / level if draw is None else (low / level) ** 2
        x = toward + share * (x - toward)
        if draw is not None:
            x = x + low * math.sqrt(1 - share) * draw.named(f"{low:.6g}").normal(x)
        before, last, level = clean, length, low
        t = population.process.at_level(low)
        asked: Any = population.ask(population.process.coefficients(t)[0] * x, t)
        clean = asked.mean
    return clean


def _level(high: float, share: float) -> float:
    """The level at a share of the way from `high` to the last one."""
    low = min(LEAST, high / 3)
    return (high ** (1 / 7) + share * (low ** (1 / 7) - high ** (1 / 7))) ** 7


__all__ = ["halting", "walked"]
