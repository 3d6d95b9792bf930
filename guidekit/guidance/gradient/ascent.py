"""Optimization of the clean estimate itself: the network is not looked through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.objective import Number
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.core.state import column
from guidekit.errors import UnknownNameError
from guidekit.guidance.gradient.places import clean_slopes, displaced, each
from guidekit.guidance.gradient.strength import Strength, checked

OPTIMIZERS = ("plain", "adam")


@dataclasses.dataclass(frozen=True)
class Ascent:
    """x_0 is moved `iterations` times along the gradient of an objective, from the clean estimate on.

    Args:
        rate: of a step: a number, a function of t or an `Averaged`; 0 moves nothing.
        iterations: number of steps, at least 1.
        optimizer: "plain", or "adam", whose steps have about the size of the rate per entry.
        keeps_noise: the noise of the step stays that of the unguided estimate, x_u moves by b (x_0' - x_0); otherwise
            it is recomputed from the moved estimate, as the state stays.
        per: (prediction) -> factor of the rate, a number or (B,).
        shape: what a gradient (B, *S) becomes before the step, such as a smoothing along an axis; None leaves it.

    Raises:
        ValueError: settings outside their range.
    """

    rate: Strength = 1.0
    iterations: int = 1
    optimizer: str = "plain"
    keeps_noise: bool = True
    per: Callable[[GaussianPrediction], Number] | None = None
    shape: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "rate", checked("the rate of the clean estimate's steps", self.rate))
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        if self.optimizer not in OPTIMIZERS:
            raise UnknownNameError("optimizer", str(self.optimizer), OPTIMIZERS)


def ascend(ascent: Ascent, rate: float, score: Callable[[Prediction], Tensor], prediction: Prediction) -> Any:
    """By how much the clean estimates are moved, a tree like the prediction; None for parts that are not.

    Args:
        ascent: see there.
        rate: its rate at this moment.
        score: prediction -> (B,).
        prediction: where to start.
    """
    at, total = prediction, None
    history: dict[int, tuple[Tensor, Tensor]] = {}
    for number in range(1, ascent.iterations + 1):
        gradient = clean_slopes(score, at)
        step = each(_step(ascent, rate, number, history), prediction, gradient)
        total = step if total is None else each(lambda part, old, new: old + new, prediction, total, step)
        at = displaced(prediction, total)
    return total


def _step(
    ascent: Ascent, rate: float, number: int, history: dict[int, tuple[Tensor, Tensor]]
) -> Callable[[GaussianPrediction, Tensor], Tensor]:
    """One step of one part; moments are kept by the order of the parts."""
    seen: list[None] = []

    def step(part: GaussianPrediction, gradient: Tensor) -> Tensor:
        if ascent.shape is not None:
            gradient = ascent.shape(part.support.project(gradient))
        if ascent.optimizer == "adam":
            seen.append(None)
            zero = torch.zeros_like(gradient)
            first, second = history.get(len(seen), (zero, zero))
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient.square()
            history[len(seen)] = (first, second)
            gradient = first / (1 - 0.9**number) / ((second / (1 - 0.999**number)).sqrt() + 1e-8)
        size = rate if ascent.per is None else rate * ascent.per(part)
        moved = column(size.to(gradient.dtype), gradient) * gradient if isinstance(size, Tensor) else size * gradient
        return part.support.project(moved)

    return step
