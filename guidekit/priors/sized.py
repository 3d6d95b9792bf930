"""What priors of graphs share whose number of nodes is drawn first, whatever their states are."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor

from guidekit.core.random import Draw, pick
from guidekit.priors.labelled import LabelledPrior


class SizedPrior(LabelledPrior):
    """Base of p(n) p(graph | n).

    Attributes:
        length_counts: (N + 1,) float64, how often each number of nodes occurred in the training data.
    """

    length_counts: Tensor

    @property
    def most_nodes(self) -> int:
        """N, the most nodes of a graph."""
        return len(self.length_counts) - 1

    def sized(self, nodes: int | None) -> Self:
        """The prior of graphs of one number of nodes; None is this prior.

        Raises:
            ValueError: more nodes than it knows, or none.
        """
        if nodes is None:
            return self
        if not 1 <= nodes <= self.most_nodes:
            raise ValueError(f"num_nodes={nodes}; graphs of this prior ({self.name}) have 1 to {self.most_nodes} nodes")
        new = copy.copy(self)
        new.length_counts = torch.zeros_like(self.length_counts)
        new.length_counts[nodes] = 1
        return new

    def sizes(self, draw: Draw, rows: int) -> Tensor:
        """Numbers of nodes (rows,), as often as in the training data."""
        return pick(self.length_counts.log().expand(rows, -1), draw.named("length").uniform(rows))
