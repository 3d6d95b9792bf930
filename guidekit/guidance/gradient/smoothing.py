"""Objectives smoothed over noise around the clean estimate: log of the mean of exp(objective), never the mean of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidekit.core.owner import Owner
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.guidance.gradient.places import displaced, each

if TYPE_CHECKING:
    from guidekit.core.question import Question

Score = Callable[[Prediction], Tensor]


@dataclasses.dataclass(frozen=True)
class Smoothing:
    """log 1/n sum_i exp(objective(x_0 + r noise_i)), noises drawn once a step and shared by all that look.

    Args:
        draws: n, at least 1.
        width: r / (s / sqrt(a^2 + s^2)), or r itself where it does not fall with the noise.
        falls: whether r falls with the noise.

    Raises:
        ValueError: settings outside their range.

    Source: Song et al. 2023 (LGD-MC, ICML), eq. 9; Ye et al. 2024, arXiv:2409.15761, eq. 6.
    """

    draws: int = 1
    width: float = 1.0
    falls: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")
        if not self.width >= 0 or not math.isfinite(self.width):
            raise ValueError(f"width must be a finite number of at least 0, got {self.width}")

    def noises(self, owner: Owner, question: Question, prediction: Prediction) -> list[Any]:
        """What is added to the clean estimates, `draws` trees like the prediction."""
        made = []
        for number in range(self.draws):
            drawn: list[int] = []

            def noise(part: GaussianPrediction, number: int = number, drawn: list[int] = drawn) -> Tensor:
                drawn.append(number)
                size: Any = self.width
                if self.falls:
                    size = size * part.s / (part.a * part.a + part.s * part.s) ** 0.5
                numbers = question.normal(owner, f"smoothing {number} {len(drawn)}", part.mean)
                return part.support.project(numbers) * _like(size, numbers)

            made.append(each(noise, prediction))
        return made


def smoothed(score: Score, noises: Sequence[Any]) -> Score:
    """The smoothed version of a score, for noises that are given; the score itself where there are none."""
    if not noises:
        return score

    def mean(prediction: Prediction) -> Tensor:
        found = torch.stack([score(displaced(prediction, noise)) for noise in noises])
        return torch.logsumexp(found, 0) - math.log(len(noises))

    return mean


def _like(size: Any, x: Tensor) -> Any:
    return size.to(x).reshape(-1, *(1,) * (x.ndim - 1)) if isinstance(size, Tensor) and size.ndim else size
