"""How long a step along a gradient is: rules, as functions of where it is taken; one number a sample.

A rule gives the factor, a number or (B,), that strength * gradient is multiplied by. The gradient is that of the noisy
state x_t where x_u is moved after the step (place "after"), so it changes with the units of x: a published step of a
variance-preserving process is one for another by `preserving`, and one in units of a variance-exploding process is one
for another by `exploding`. (a, s) are signal and noise at t, (b, r) those at u.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from guidekit.core.objective import Number
from guidekit.core.prediction import GaussianPrediction
from guidekit.errors import UnknownNameError

LEAST = 1e-12
"""Lengths below it are taken as it."""

FAINT = 0.005
"""Signal, of a^2 + s^2 = 1, below which a step is not measured: the least of published schedules of 1,000 steps."""


class Spot(NamedTuple):
    """Where a step along a gradient is taken.

    Args:
        prediction: of the part that is moved, unguided.
        gradient: (B, *S).
        then: (b, r), signal and noise after the step.
        steps: of the run.
    """

    prediction: GaussianPrediction
    gradient: Tensor
    then: tuple[Number, Number]
    steps: int


Rule = Callable[[Spot], Number]


def exploding(spot: Spot) -> Number:
    """a b: strength is a step in x / a, a variance-exploding process; 1 there."""
    return spot.prediction.a * spot.then[0]


def preserving(spot: Spot) -> Number:
    """sqrt((a^2 + s^2) (b^2 + r^2)): strength is a step of a variance-preserving process; 1 there."""
    (a, s), (b, r) = (spot.prediction.a, spot.prediction.s), spot.then
    return ((a * a + s * s) * (b * b + r * r)) ** 0.5


def training_free(spot: Spot) -> Number:
    """(a^2 + s^2) b / a: 1 / sqrt(alpha_t) of TFG's algorithm, for any process.

    Source: Ye et al. 2024, arXiv:2409.15761, algorithm 1, line 9.
    """
    a, s = spot.prediction.a, spot.prediction.s
    size = (a * a + s * s) ** 0.5
    return size * spot.then[0] / _audible(a, size)


def inverse_signal(spot: Spot) -> Number:
    """1 / a: the step of MPGD's released code."""
    return inverse_signal_of(spot.prediction)


def inverse_signal_of(prediction: GaussianPrediction) -> Number:
    """1 / a of a prediction; see `FAINT`."""
    a, s = prediction.a, prediction.s
    size = (a * a + s * s) ** 0.5
    return 1 / (_audible(a, size) * size)


def unit(spot: Spot) -> Tensor:
    """1 / |gradient|: strength is the length of the step, per sample."""
    return 1 / spot.prediction.support.norm(spot.gradient).clamp_min(LEAST)


def fixed_length(spot: Spot) -> Tensor:
    """sqrt(d) / T / |gradient|, d degrees of freedom and T steps, in units of a variance-preserving process.

    Source: Poleski et al. 2024, arXiv:2407.12889.
    """
    support = spot.prediction.support
    size = torch.as_tensor(support.dimensions(spot.gradient)).to(spot.gradient).sqrt() / spot.steps
    (b, r) = spot.then
    return size * unit(spot) * (b * b + r * r) ** 0.5


def noise_ratio(spot: Spot) -> Tensor:
    """rms(noise) (s / a) c / rms(gradient), c the weight of x_0 in the mean of q(x_u | x_t, x_0): FreeDoM's step.

    Source: Yu et al. 2023, arXiv:2303.09833, released code (per sample here).
    """
    prediction, (b, r) = spot.prediction, spot.then
    a, s, support = prediction.a, prediction.s, prediction.support
    c = b - (a * r / s) ** 2 / max(b, LEAST)
    size = (a * a + s * s) ** 0.5
    return support.norm(prediction.noise) * (s / (_audible(a, size) * size)) * c * unit(spot)


def automatic(spot: Spot) -> Tensor:
    """As a score: strength is the root mean square by which x_0 moves, over rms(noise) s / sqrt(a^2 + s^2).

    Dreamguider's automatic scale, whose published form is not told: a share of what is still unknown of data of about
    unit size, which falls as s / a at low noise and has no unit of the loss in it.
    """
    prediction = spot.prediction
    a, s = prediction.a, prediction.s
    length = prediction.support.norm(prediction.noise) * (s / (a * a + s * s) ** 0.5)
    return length * (a / (s * s)) * unit(spot)


RULES: dict[str, Rule] = {
    "exploding": exploding,
    "preserving": preserving,
    "training_free": training_free,
    "inverse_signal": inverse_signal,
    "unit": unit,
    "fixed_length": fixed_length,
    "noise_ratio": noise_ratio,
    "automatic": automatic,
}


def rule_of(given: str | Rule | None) -> Rule | None:
    """A rule by name, or as it is.

    Raises:
        UnknownNameError: no such rule.
    """
    if given is None or callable(given):
        return given
    if given not in RULES:
        raise UnknownNameError("rule of a step", str(given), RULES)
    return RULES[given]


def clipped(most: float) -> Rule:
    """A rule that shortens gradients whose norm is above `most`, per sample.

    Raises:
        ValueError: a norm that is not above 0.
    """
    if not most > 0 or not math.isfinite(most):
        raise ValueError(f"gradients are clipped to a norm above 0, got {most}")

    def rule(spot: Spot) -> Tensor:
        return (most * unit(spot)).clamp_max(1.0)

    return rule


def _audible(a: Number, size: Number) -> Number:
    """a / size, at least `FAINT`."""
    share = a / size
    return share.clamp_min(FAINT) if isinstance(share, Tensor) else max(share, FAINT)
