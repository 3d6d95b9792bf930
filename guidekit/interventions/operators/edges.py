"""Edges of a graph left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.interventions.operators.operator import Choice, Operator


@dataclasses.dataclass(frozen=True)
class MaskEdges(Operator):
    """Edges of a graph left out of a layer, both directions together: the graph's counterpart of worse attention.

    Args:
        rate: probability that an edge is left out, in [0, 1].
        sites: which layers.
    """

    rate: float = 0.5
    sites: Choice = "all"
    ports = ("message_passing",)
    random = True

    def kept(self, source: Tensor, target: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """See `Operator.kept`; loops stay."""
        low, high = torch.minimum(source, target), torch.maximum(source, target)
        return (draw(low * (1 << 31) + high) >= self.rate) | (source == target)
