"""The spaces a rule may act in. At a given noisy state each is an affine image of the clean estimate.

A rule that adds branches with weights that sum to one gives the same answer in all of them. Norms, projections and
standard deviations do not, so a rule names the space that its source used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidekit.core.prediction import CategoricalPrediction, GaussianPrediction, Prediction
from guidekit.core.state import column
from guidekit.guidance.contrast.linear import normalised
from guidekit.processes import GaussianProcess

SPACES = ("x0", "eps", "v", "flow")
LEAST = 1e-6
"""Coefficients below it are taken as it, so that a view can be turned back where a state is all noise or none."""


def affine(space: str, process: GaussianProcess, a: Tensor | float, s: Tensor | float) -> tuple[Tensor, Tensor]:
    """(alpha, beta), each () or (B,) float64, of the view alpha x_0 + beta x of a clean estimate x_0 at a state x.

    "x0" is the clean estimate, "eps" the noise, "v" = a eps - s x_0 for a and s scaled to a^2 + s^2 = 1, "flow" the
    velocity of the process' own probability flow.

    Raises:
        ValueError: no such space.
    """
    a, s = (torch.as_tensor(value, dtype=torch.float64).clamp_min(LEAST) for value in (a, s))
    if space == "x0":
        return torch.ones_like(a), torch.zeros_like(a)
    if space == "eps":
        return -a / s, 1 / s
    if space == "v":
        size = (a * a + s * s).sqrt()
        return -size / s, a / (size * s)
    if space == "flow":
        _, da, ds = process.schedule.flow(a, s)
        return da - ds * a / s, ds / s + torch.zeros_like(a)
    raise ValueError(f"no space {space!r}; there are {', '.join(SPACES)}")


def in_space(
    space: str, process: GaussianProcess, views: Sequence[GaussianPrediction], function: Callable[..., Tensor]
) -> Tensor:
    """function([one tensor (B, *S) per prediction]) as a clean estimate; the tensors are views in a space, float64."""
    if space == "x0":
        return function([view.mean for view in views])
    frame = views[-1]
    x = frame.x.double()
    alpha, beta = (column(value.to(x.device), x) for value in affine(space, process, frame.a, frame.s))
    out = function([alpha * view.mean.double() + beta * x for view in views])
    return ((out - beta * x) / alpha).to(frame.mean)


def on_logits(views: Sequence[CategoricalPrediction], function: Callable[..., Tensor]) -> Tensor:
    """function([centred logits (B, L, V) per prediction]) as log-probabilities.

    Log-probabilities are defined up to a constant, so their mean over the tokens that are possible in every view is
    taken off first. Impossible tokens count as zero and stay impossible; where none is left, the second view stands.
    """
    dead = torch.stack([view.log_probs.isneginf() for view in views]).any(0)
    count = (~dead).sum(-1, keepdim=True).clamp_min(1)

    def centred(log_probs: Tensor) -> Tensor:
        alive = log_probs.masked_fill(dead, 0.0)
        return (alive - alive.sum(-1, keepdim=True) / count).masked_fill(dead, 0.0)

    out = function([centred(view.log_probs) for view in views])
    return normalised(out.masked_fill(dead, -torch.inf), views[1].log_probs)


def combine(space: str, process: object, views: Sequence[Prediction], function: Callable[..., Tensor]) -> Prediction:
    """The belief that function([one tensor a view]) means; the second view is the one that others were made against."""
    parts = {"base": views[0], "positive": views[1]}
    if isinstance(views[1], CategoricalPrediction):
        return dataclasses.replace(views[1], log_probs=on_logits(views, function), parts=parts)
    return dataclasses.replace(views[1], mean=in_space(space, process, views, function), parts=parts)
