"""Priors of graphs whose every law is known: independent edges, alike (Erdos-Renyi) or by blocks (block models)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.random import Draw
from guidekit.priors.graphs import believed, graph_places, limit
from guidekit.priors.labels import class_numbers
from guidekit.processes import DiscreteProcess, Kinds

ABSENT, NODE, EMPTY, EDGE = range(4)
"""Ids of tokens."""

ABSORBING = Kinds(pinned=ABSENT, kinds=(0, 0, 1, 1), laws=((0, 1, 0, 0), (0, 0, 1, 0)))
"""Edges become "no edge"."""


class RandomGraphs(Prior):
    """Graphs of N nodes with independent edges of known probabilities.

    A state is (B, L) as in `GraphPrior`, with one type of nodes (1) and one of edges: 2 is "no edge", 3 an edge.

    Args:
        probabilities: of the edges, (N, N) symmetric between 0 and 1; the diagonal does not matter.
        process: forward process over 4 ids with id 0 pinned; None is absorbing. `marginal_edges` gives another.
        conditionals: (C, N, N) likewise, of C classes.

    Raises:
        ValueError: probabilities that are none, or not symmetric.
    """

    name = "random graphs"
    process: Any  # DiscreteProcess

    def __init__(
        self, probabilities: Tensor, process: DiscreteProcess | None = None, conditionals: Tensor | None = None
    ) -> None:
        table = torch.as_tensor(probabilities, dtype=torch.float64)
        given = torch.empty(0, *table.shape) if conditionals is None else torch.as_tensor(conditionals)
        tables = torch.cat([given.double(), table[None]])
        if tables.ndim != 3 or tables.shape[1] != tables.shape[2] or not torch.equal(tables, tables.transpose(1, 2)):
            raise ValueError(f"probabilities of shape {tuple(table.shape)}; symmetric ones (N, N) are needed")
        if not ((tables >= 0) & (tables <= 1)).all():
            raise ValueError("probabilities of edges must be numbers from 0 to 1")
        self.nodes, self.process = tables.shape[1], process or ABSORBING
        self.event_shape = (self.nodes * (self.nodes + 1) // 2,)
        self.length_counts = torch.zeros(self.nodes + 1).index_fill(0, torch.tensor([self.nodes]), 1.0)
        i, j = torch.triu_indices(self.nodes, self.nodes, 1)
        self.edges = tables[:, i, j]
        """(C + 1, P), probabilities in the order of the places; the last row is without a class."""
        if conditionals is not None:
            self.null_condition, self.choices = torch.tensor(-1), (torch.ones(len(given)),)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.edges) - 1

    def condition(self, value: Any) -> Tensor | None:
        """Classes by number, one or one a sample; see `Prior.condition`."""
        return class_numbers(value, self.classes, self.name) if self.classes else super().condition(value)

    def start(self, draw: Draw, rows: int, dtype: torch.dtype | None = None, condition: Any = None) -> Tensor:
        """See `Prior.start`."""
        places = graph_places(torch.full((rows,), self.nodes, device=draw.random.device), self.nodes, 1)
        return limit(self.process, places, draw.uniform(*places.shape))

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> CategoricalPrediction:
        """Exact, in float64; see `Prior.predict`."""
        law = self.edges[-1].expand(len(x), -1) if condition is None else self.edges[condition]
        table = torch.zeros(*x.shape, 4, dtype=torch.float64, device=x.device)
        table[:, : self.nodes, NODE] = 1
        table[:, self.nodes :, EMPTY], table[:, self.nodes :, EDGE] = 1 - law, law
        return believed(self.process, (table * self.process.likelihood(x, t)).log(), x)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Exact draws of n clean states, without a class."""
        edges = torch.rand(n, self.edges.shape[1], generator=generator, dtype=torch.float64) < self.edges[-1]
        return torch.cat([torch.full((n, self.nodes), NODE), torch.where(edges, EDGE, EMPTY)], 1)

    def tilted(self, gains: Tensor) -> RandomGraphs:
        """The prior proportional to this one times exp(sum of gains (N, N) over the edges there are)."""
        i, j = torch.triu_indices(self.nodes, self.nodes, 1)
        odds = self.edges[-1] / (1 - self.edges[-1]) * gains.double()[i, j].exp()
        table = torch.zeros(self.nodes, self.nodes, dtype=torch.float64)
        table[i, j] = table[j, i] = odds / (1 + odds)
        return RandomGraphs(table, self.process)

    def to(self, device: torch.device | str) -> RandomGraphs:
        """The prior with its tensors on another device."""
        new = copy.copy(self)
        new.edges = self.edges.to(device)
        if self.null_condition is not None:
            new.null_condition = self.null_condition.to(device)
        return new


def erdos_renyi(nodes: int, probability: float, process: DiscreteProcess | None = None) -> RandomGraphs:
    """Graphs in which every edge is there with one probability."""
    return RandomGraphs(torch.full((nodes, nodes), float(probability)), process)


def block_model(
    sizes: Sequence[int], probabilities: Sequence[Sequence[float]], process: DiscreteProcess | None = None
) -> RandomGraphs:
    """Graphs of blocks of nodes, one after the other.

    Args:
        sizes: of the blocks.
        probabilities: of an edge between nodes of two blocks, symmetric.
        process: see `RandomGraphs`.
    """
    block = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return RandomGraphs(torch.tensor(probabilities, dtype=torch.float64)[block][:, block], process)


def marginal_edges(density: float) -> Kinds:
    """The process in which a lost pair has an edge with probability `density`."""
    return Kinds(pinned=ABSENT, kinds=(0, 0, 1, 1), laws=((0, 1, 0, 0), (0, 0, 1 - density, density)))


__all__ = ["RandomGraphs", "block_model", "erdos_renyi", "marginal_edges"]
