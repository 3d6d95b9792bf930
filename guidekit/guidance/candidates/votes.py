"""How several rewards make one choice: votes of candidates that compete with each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Vote = Callable[[Tensor], Tensor]
"""Values (R, ..., N) of R rewards for N competitors -> votes (..., N); what one reward rejects (minus infinity) is
rejected."""


def added(values: Tensor) -> Tensor:
    """The sum of the values."""
    return _rejecting(values, values.sum(0))


def standardized(values: Tensor) -> Tensor:
    """The sum of z-scores among the competitors: no reward outweighs another by its unit or its spread.

    A reward that tells none of them apart has no say.
    """
    known = values.isfinite()
    count = known.sum(-1, keepdim=True).clamp_min(1)
    gap = torch.where(known, values - torch.where(known, values, 0.0).sum(-1, keepdim=True) / count, 0.0)
    size = torch.where(known, values.abs(), 0.0).amax(-1, keepdim=True)
    spread = (gap.square().sum(-1, keepdim=True) / count).sqrt()
    told = spread > 1e-12 * size  # below it is rounding
    return _rejecting(values, torch.where(told, gap / spread.clamp_min(1e-300), 0.0).sum(0))


def consensus(values: Tensor) -> Tensor:
    """Borda's count: the competitors that a candidate beats, ties by half, added over the rewards."""
    mine, others = values[..., :, None], values[..., None, :]
    beats = (mine > others).double() + 0.5 * (mine == others)
    return _rejecting(values, beats.sum(-1).sum(0))


def _rejecting(values: Tensor, votes: Tensor) -> Tensor:
    return torch.where(values.isneginf().any(0), -torch.inf, votes)


VOTES: dict[str, Vote] = {"sum": added, "normalized": standardized, "consensus": consensus}
"""By name; Kim et al. 2024, arXiv:2411.17041, section 3.3."""
