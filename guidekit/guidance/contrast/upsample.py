"""Upsample guidance: a state larger than the prior's own is kept consistent with a prediction at its own size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.prior import Prior
from guidekit.core.question import Question
from guidekit.core.requirements import Fact
from guidekit.core.state import altered, column
from guidekit.core.support import Support
from guidekit.guidance.contrast import Changed, Contrast, Number, Rule, Schedules, Weight, contrast
from guidekit.guidance.contrast.schedules import noise_level
from guidekit.processes import GaussianProcess
from guidekit.registry import register


@register("guidance", "upsample")
def UpsampleGuidance(weight: Weight = 1.0, factor: int = 2, schedule: Schedules = None) -> Contrast:  # noqa: N802
    """D + w up(D_low - pool(D)): blocks of `factor` pixels have means between those of D and of a small prediction.

    D_low is the prior's prediction for the pooled state, at the time with noise level s / (a factor^(dims / 2)), as the
    mean of factor^dims noises deviates so much less. At w = 1 the pooled estimate is exactly D_low. Written for clean
    estimates; the form of the source, for noises, is the same. The prior's network must take both sizes.

    Args:
        weight: w; 0 is the prior at the large size.
        factor: m, ratio of the sides.
        schedule: see `CFG`; the source guides at high noise only: Steps(0, some), or an interval from a level on.
            Outside it nothing is added.

    Raises:
        ValueError: settings outside their ranges.

    Source: Hwang et al. 2024, arXiv:2404.01709.
    """

    if not isinstance(factor, int) or factor < 1:
        raise ValueError(f"UpsampleGuidance: factor must be a whole number of at least 1, got {factor!r}")

    def small(question: Question, owner: Guidance) -> Question:
        x, t = pooled_state(question.process, question.x, question.t, factor)
        return altered(question, x=x, t=t)

    def consistent(support: Support, w: Number, small: Tensor, large: Tensor) -> Tensor:
        return large + w * upsampled(small - pooled(large, factor), factor)

    def divides(name: str, prior: Prior) -> None:
        shape: Any = prior.event_shape
        if Fact.PARTS in prior.provides or len(shape) < 2 or any(side % factor for side in shape[1:]):
            raise GuidanceError(
                f"{name} needs states (channels, sides that {factor} divides), and those of this prior "
                f"({prior.name}) are {tuple(shape)}"
            )

        if prior.null_condition is not None and prior.null_condition.is_floating_point():
            raise GuidanceError(
                f"{name} asks the prior at a smaller size, and conditions of this one ({prior.name}) are of one size"
            )

    rule = Rule(
        lambda answers, w: altered(answers.mapped(consistent, w), branches=None),
        neutral=0.0,
        timeless=False,
        requires=frozenset({Fact.FLOW}),
        check=divides,
    )
    return contrast("UpsampleGuidance", (Changed(small),), rule, weight, schedule)


def pooled(x: Tensor, factor: int) -> Tensor:
    """Means of blocks of `factor` along every axis after the channels, (B, C, sides / factor)."""
    kernel = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    return kernel(x, factor)


def upsampled(x: Tensor, factor: int) -> Tensor:
    """Every number repeated `factor` times along every axis after the channels."""
    for axis in range(2, x.ndim):
        x = x.repeat_interleave(factor, axis)
    return x


def pooled_state(process: GaussianProcess, x: Tensor, t: float | Tensor, factor: int) -> tuple[Tensor, float | Tensor]:
    """The pooled state, scaled, and the time at which the process has its noise level; x (B, C, sides)."""
    low = time_of_level(process, noise_level(process, t) / factor ** ((x.ndim - 2) / 2))
    here, there = (process.coefficients(time)[0] for time in (t, low))
    scale = there / (here.clamp_min(1e-12) if isinstance(here, Tensor) else max(here, 1e-12))
    return pooled(x, factor) * column(scale, x), low


def time_of_level(process: GaussianProcess, level: float | Tensor) -> float | Tensor:
    """The time in [0, 1] at which s / a is `level`, by bisection; the nearest end where there is none."""
    if isinstance(level, Tensor):
        return torch.tensor([time_of_level(process, one) for one in level.tolist()]).to(level)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if noise_level(process, middle) > level else (middle, high)
    return high
