"""Blocks, or branches of them, left out."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from guidekit.interventions.operators.operator import Choice, Operator
from guidekit.interventions.places import Place
from guidekit.interventions.sites import SiteError


@dataclasses.dataclass(frozen=True)
class DropBlock(Operator):
    """Residual units left out: their output is what they would have added to.

    Args:
        rate: share of the chosen units that is left out, drawn anew for every row and call; rounded to whole units, and
            at least one where it is above 0. 1 leaves out all, without a draw.
        sites: which.

    Raises:
        ValueError: a rate outside [0, 1].
    """

    rate: float = 1.0
    sites: Choice = "all"
    ports = ("block",)

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate={self.rate}; accepted: 0 (none) to 1 (all)")

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether units are drawn."""
        return 0 < self.rate < 1

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """See `Operator.output`."""
        count = how_many(self.rate, place.count)
        if count == 0:
            return x
        left = self.left(x, number, place)
        if count == place.count:
            return left
        u = place.uniform(place.count, shared=True)
        dropped = (u < u[:, place.index : place.index + 1]).sum(1) < count
        return torch.where(dropped.view(-1, *[1] * (x.ndim - 1)), left, x)

    def left(self, x: Tensor, number: int, place: Place) -> Tensor:
        """What is there without the unit."""
        call = place.call
        if place.site.rest == "zero":
            return torch.zeros_like(x)
        first = call.args[number] if number < len(call.args) else None
        if first is None and number == 0:
            first = next(iter(call.kwargs.values()))
        if not isinstance(first, Tensor):
            raise SiteError(f"DropBlock at site {place.site.name}: its output {number} has no input to stand for it")
        first = first[place.rows]
        if place.site.rest == "skip":
            skip: Any = place.site.ports["block"].skip
            first = skip(first)
        if first.shape != x.shape:
            raise SiteError(
                f"DropBlock at site {place.site.name}: it turns {tuple(first.shape)} into {tuple(x.shape)}, so nothing "
                "can stand for it; choose other sites"
            )
        return first


def how_many(rate: float, count: int) -> int:
    """Units out of `count` that a share means: rounded, and at least one above 0."""
    return 0 if rate == 0 else max(1, math.floor(rate * count + 0.5))


@dataclasses.dataclass(frozen=True)
class _DropBranch(Operator):
    """A branch of residual units adds nothing."""

    sites: Choice = "all"

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """See `Operator.output`."""
        return torch.zeros_like(x)


@dataclasses.dataclass(frozen=True)
class DropAttention(_DropBranch):
    """Attention adds nothing to the residual stream."""

    ports = ("attention_output",)


@dataclasses.dataclass(frozen=True)
class DropFeed(_DropBranch):
    """The feed-forward branch adds nothing to the residual stream."""

    ports = ("feed",)
