"""Worse inputs: tokens in another order, noise on what the network is told."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.interventions.operators.operator import Choice, Operator
from guidekit.interventions.places import Place
from guidekit.interventions.sites import SiteError


@dataclasses.dataclass(frozen=True)
class ShuffleTokens(Operator):
    """The tokens at the input of a unit in another order, for every row its own; not undone behind it.

    Padding and leading tokens keep their places. Every token keeps its numbers, so norms are kept exactly.

    Source: Rajabi et al. 2025, arXiv:2506.10036, section 4; there with one order for the batch.
    """

    sites: Choice = "all"
    ports = ("tokens",)
    random = True

    def input(self, x: Tensor, place: Place) -> Tensor:
        """See `Operator.input`."""
        order = shuffled(place.uniform(x.shape[1]), place.movable)
        return x.gather(1, order[..., None].expand_as(x))


def shuffled(u: Tensor, movable: Tensor | None) -> Tensor:
    """A permutation of the movable tokens of every row, (B, N) int64, from uniform numbers u (B, N)."""
    if movable is None:
        return u.argsort(1)
    drawn = u.masked_fill(~movable, 2.0).argsort(dim=1, stable=True)  # movable tokens in random order, then the others
    place = (~movable).to(torch.int8).argsort(dim=1, stable=True)  # where movable tokens are, then the others
    return torch.empty_like(drawn).scatter(1, place, drawn)


@dataclasses.dataclass(frozen=True)
class NoiseEmbedding(Operator):
    """Normal noise of standard deviation scale t^power added to what the network is told about the time or condition.

    Args:
        scale: of the noise, in the unit of the embedding.
        sites: which.
        port: "time_embedding" or "condition_embedding".
        power: of the rows' time in [0, 1], see `guidekit.interventions.installed`; 0 does not look at it.

    Source: Sadat et al. 2024, arXiv:2407.02687, section 4.2.
    """

    scale: float = 1.0
    sites: Choice = "all"
    port: str = "time_embedding"
    power: float = 0.0
    random = True

    @property
    def ports(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one given."""
        return (self.port,)

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """See `Operator.output`."""
        size: Tensor | float = self.scale
        if self.power:
            if place.time is None:
                raise SiteError(f"NoiseEmbedding(power={self.power}) needs the time: installed(..., time=)")
            size = self.scale * place.time.view(-1, *[1] * (x.ndim - 1)) ** self.power
        u = place.uniform(x[0].numel())
        normal = math.sqrt(2) * torch.erfinv(2 * u - 1)
        return x + (size * normal.view(x.shape)).to(x)
