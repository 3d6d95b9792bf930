"""Clean states near a center and likely under any differentiable score: the mode, and draws that are accepted or not.

Everything is done in whitened numbers w with x = center + root(w), in which the law around the center is N(0, I).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.random import Draw
from guidekit.core.state import column

Score = Callable[[Tensor], Tensor]
"""States (B, *S) -> nats (B,)."""
Root = Callable[[Tensor], Tensor]
"""w (B, *S) -> V^(1/2) w."""

FIRST, TARGET = 0.2, 0.574
"""The first step size, and the share of accepted steps at which Langevin steps travel farthest (Roberts & Rosenthal
1998, doi:10.1111/1467-9868.00123)."""


def climbed(score: Score, center: Tensor, root: Root, iterations: int) -> Tensor:
    """Where score(x) + log N(x; center, V) is largest nearby, (B, *S): gradient steps, shortened where they lead down.

    They begin at, and never exceed, the size that is Newton's where the score is a straight line.
    """
    at = torch.zeros_like(center)
    size = torch.ones(len(center), dtype=torch.float64, device=center.device)
    value, slope = _log_law(score, center, root, at)
    for _ in range(iterations):
        new = at + column(size.to(at.dtype), at) * slope
        found, ahead = _log_law(score, center, root, new)
        better = found > value
        at, slope = _chosen(better, new, at), _chosen(better, ahead, slope)
        value, size = torch.where(better, found, value), torch.where(better, (1.5 * size).clamp_max(1), 0.4 * size)
    return center + root(at)


def wandered(score: Score, center: Tensor, root: Root, iterations: int, draw: Draw) -> Tensor:
    """A draw from the law proportional to exp(score(x)) N(x; center, V), (B, *S), approached from the center.

    Metropolis-adjusted Langevin steps: whatever their size they leave the law as it is; the size is learned on the way,
    for every row by itself, ever more slowly.

    Source: Roberts & Tweedie 1996, doi:10.2307/3318418.
    """
    at = torch.zeros_like(center)
    log_size = torch.full((len(center),), FIRST, dtype=torch.float64, device=center.device).log()
    value, slope = _log_law(score, center, root, at)
    for number in range(iterations):
        now = draw.named(f"langevin {number}")
        size = log_size.exp()
        step = column(size.to(at.dtype), at)
        new = at + step / 2 * slope + step.sqrt() * now.named("noise").normal(at)
        found, ahead = _log_law(score, center, root, new)
        back, there = (at - new - step / 2 * ahead), (new - at - step / 2 * slope)
        ratio = found - value - (_square(back) - _square(there)) / (2 * size)
        chance = ratio.clamp_max(0).exp().nan_to_num(0.0)
        taken = now.named("choice").uniform(len(at)) < chance
        at, slope = _chosen(taken, new, at), _chosen(taken, ahead, slope)
        value = torch.where(taken, found, value)
        log_size = log_size + 2 / (number + 1) ** 0.6 * (chance - TARGET)
    return center + root(at)


def _log_law(score: Score, center: Tensor, root: Root, at: Tensor) -> tuple[Tensor, Tensor]:
    """The log-density of w, float64 (B,), and its gradient (B, *S)."""
    with torch.enable_grad():
        w = at.detach().requires_grad_()
        value = score(center + root(w)).double() - 0.5 * _square(w)
        (slope,) = torch.autograd.grad(value.sum(), w)
    return value.detach().nan_to_num(-torch.inf), slope.nan_to_num(0.0)


def _chosen(taken: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """New rows where taken (B,), old ones elsewhere."""
    return torch.where(column(taken, old), new, old)


def _square(v: Tensor) -> Tensor:
    """Squared lengths of rows, float64 (B,)."""
    return v.double().flatten(1).square().sum(1)


__all__ = ["climbed", "wandered"]
