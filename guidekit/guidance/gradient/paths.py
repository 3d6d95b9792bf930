"""Costs of paths: the clean estimate is moved along their gradients, smoothed along the path."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.objective import Objective
from guidekit.guidance.gradient.ascent import Ascent
from guidekit.guidance.gradient.engine import GradientGuidance
from guidekit.guidance.gradient.strength import Below
from guidekit.objectives.reward import objective_of
from guidekit.registry import register

KERNEL = (1.0, 3.0, 5.0, 3.0, 1.0)
"""By which gradients are smoothed along a path, up to a factor; a pull at one point moves its neighbors too."""

RATE = 0.1
"""Of steps for rewards that suggest none."""


def smoothed_along(gradient: Tensor) -> Tensor:
    """Gradients (B, ..., K) smoothed along the last axis, in float64 where they are."""
    kernel = torch.tensor(KERNEL, dtype=gradient.dtype, device=gradient.device)
    rows = F.pad(gradient.reshape(-1, 1, gradient.shape[-1]), (len(KERNEL) // 2,) * 2)
    return F.conv1d(rows, (kernel / kernel.sum())[None, None]).reshape(gradient.shape)


@register("guidance", "path")
def PathGuidance(  # noqa: N802 - a preset
    reward: Objective, rate: float | None = None, iterations: int = 3, level: float = 1.0
) -> GradientGuidance:
    """Each clean estimate of a path moves a few steps along a smoothed gradient, once the noise is below a level.

    x_0 <- x_0 + rate (k * grad f(x_0)), k * a convolution along the path; the noise of the step follows from the moved
    estimate. No backward pass through the network, and known points stay. For costs such as the distance to walls,
    length and roughness, or sums of them: a local method, which bends a path and does not find another way.

    Args:
        reward: minus the cost of clean states (B, C, K), differentiable.
        rate: of a step, in states; None is what the reward suggests, or .1.
        iterations: steps of each clean estimate.
        level: noise over signal from which on it acts; above it the estimate is a blur that has no way yet.

    Raises:
        ValueError: settings outside their range.

    Source: costs as guides of plans are those of Janner et al. 2022, arXiv:2205.09991; the smoothed ascent of the clean
    estimate is this library's.
    """
    objective = objective_of(reward, "PathGuidance")
    if rate is None:
        rate = RATE if objective.rate is None else objective.rate
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    return GradientGuidance(
        objective,
        0.0,
        twist=objective * (1 / (objective.temperature or 1.0)),
        source="frozen",
        ascent=Ascent(Below(rate, level), iterations, keeps_noise=False, shape=smoothed_along),
        title="PathGuidance",
    )
