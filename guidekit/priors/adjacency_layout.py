"""Which number of a real-valued state stands for what in a graph."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from guidekit.core.state import column
from guidekit.core.support import Given
from guidekit.networks.graph_layout import Triangle

PRESENT = 1e4
"""What stands at a node that there is, 0 at others: far beyond all noise, so that it is read from any noisy state."""
CLEAR = 20.0
"""A node is there where its number is so many times the noise."""


class Parts(NamedTuple):
    """Numbers of a state: nodes (B, N), their types (B, N, k), edges (B, P, E), properties (B, K)."""

    nodes: Tensor
    types: Tensor
    edges: Tensor
    stems: Tensor


@dataclasses.dataclass(frozen=True)
class Layout:
    """Graphs of at most N nodes as D numbers: N places of nodes, N k of types, P E of edges, and properties.

    Pairs stand row by row in the upper triangle, P = N (N - 1) / 2. Types are one number each, 1 where it is that type:
    of nodes only where there are several (k = 0 or all), of edges always, so that no edge is 0 everywhere.

    Args:
        nodes, node_types, edge_types: N, types of nodes, E.
        stems: properties behind the graph.
    """

    nodes: int
    node_types: int = 1
    edge_types: int = 1
    stems: int = 0

    @property
    def pairs(self) -> int:
        """P."""
        return self.nodes * (self.nodes - 1) // 2

    @property
    def places(self) -> int:
        """Places of tokens, N + P."""
        return self.nodes + self.pairs

    @property
    def kinds(self) -> int:
        """Numbers that a node has beside its own, k."""
        return self.node_types if self.node_types > 1 else 0

    @property
    def sizes(self) -> list[int]:
        """Numbers of every part."""
        return [self.nodes, self.nodes * self.kinds, self.pairs * self.edge_types, self.stems]

    @property
    def length(self) -> int:
        """D."""
        return sum(self.sizes)

    @cached_property
    def triangle(self) -> Triangle:
        """Of the pairs."""
        return Triangle(self.nodes)

    @cached_property
    def kind_of_id(self) -> Tensor:
        """Whether a token id is absent (0), of a node (1) or of a pair (2), (V,)."""
        return torch.tensor([0] + [1] * self.node_types + [2] * (1 + self.edge_types))

    def split(self, x: Tensor) -> Parts:
        """The parts of states (B, D)."""
        nodes, types, edges, stems = x.split(self.sizes, 1)
        rows = len(x)
        return Parts(nodes, types.reshape(rows, self.nodes, self.kinds), edges.reshape(rows, self.pairs, -1), stems)

    def join(self, parts: Parts) -> Tensor:
        """States (B, D) of parts."""
        return torch.cat([part.flatten(1) for part in parts], 1)

    def there(self, x: Tensor, s: Tensor | float = 0.0) -> Tensor:
        """Which nodes there are in states (B, D) with noise s, a number or (B,); (B, N) bool."""
        least = column((torch.as_tensor(s, device=x.device) * CLEAR).clamp_min(0.5), x)
        return x[:, : self.nodes].detach() > least

    def both(self, there: Tensor) -> Tensor:
        """Pairs of nodes (B, N) that are there, (B, P) bool."""
        i, j = self.triangle.to(there.device).ends(there.T)
        return (i & j).T

    def given(self, there: Tensor, signal: float = 1.0) -> Given:
        """What nothing moves in states with these nodes (B, N): the nodes, and all that belongs to absent ones."""
        absent, apart = ~there, ~self.both(there)
        rows = len(there)
        known = self.join(
            Parts(
                torch.ones_like(there),
                absent[..., None].expand(rows, self.nodes, self.kinds),
                apart[..., None].expand(rows, self.pairs, self.edge_types),
                torch.zeros(rows, self.stems, dtype=torch.bool, device=there.device),
            )
        )
        values = torch.zeros(rows, self.length, device=there.device)
        values[:, : self.nodes] = signal * PRESENT * there
        return Given(known, values)

    def tokens_of(self, there: Tensor) -> Tensor:
        """An id of the kind of every place of graphs with these nodes (B, N), (B, L): 0, the first type, "no edge"."""
        return torch.cat([there.long(), self.both(there) * (1 + self.node_types)], 1)

    def possible(self, places: Tensor, logits: Tensor) -> Tensor:
        """Logits (B, L, V) where ids of the wrong kind are impossible and absent places (B, L) certain."""
        kinds = self.kind_of_id.to(places.device)
        allowed = kinds[places][..., None] == kinds
        certain = torch.cat([torch.zeros_like(logits[..., :1]), logits[..., 1:]], -1)
        return torch.where(allowed, certain, -torch.inf)

    def evidence(self, x: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """log q(x | token) of every place by itself up to a constant, (B, L, V) float64; a and s (B,)."""
        parts, x = self.split(x), x.double()
        a, s = a.double(), s.double().clamp_min(1e-6)
        rows = len(x)
        types, edges = parts.types.double(), parts.edges.double()
        of_types = column(a / s**2, types) * types if self.kinds else types.new_zeros(rows, self.nodes, 1)
        of_edges = column(a / s**2, edges) * (edges - column(a / 2, edges))
        width = 2 + self.node_types + self.edge_types
        found = x.new_zeros(rows, self.places, width)
        found[:, : self.nodes, 1 : 1 + self.node_types] = of_types
        found[:, self.nodes :, 2 + self.node_types :] = of_edges
        return found

    def clean(self, log_probs: Tensor, there: Tensor, stems: Tensor | None = None) -> Tensor:
        """Mean states (B, D) of laws of tokens (B, L, V) in logarithms, for nodes (B, N), with properties (B, K)."""
        probs = log_probs.exp()
        types = probs[:, : self.nodes, 1 : 1 + self.kinds]
        edges = probs[:, self.nodes :, 2 + self.node_types :]
        behind = probs.new_zeros(len(probs), self.stems) if stems is None else stems.to(probs)
        return self.join(Parts((PRESENT * there).to(probs), types, edges, behind))

    def laws(self, x: Tensor) -> Tensor:
        """Laws (B, L, V) of tokens whose means are clean states (B, D), cut off to be probabilities."""
        parts, there = self.split(x), self.there(x)
        places = self.tokens_of(there)
        edges = parts.edges.clamp(0, 1)
        types = parts.types.clamp(0, 1) if self.kinds else torch.ones_like(parts.nodes[..., None])
        found = x.new_zeros(len(x), self.places, 2 + self.node_types + self.edge_types)
        node, pair = (places == 1)[:, : self.nodes, None], (places > 1)[:, self.nodes :, None]
        of_nodes = torch.where(node, types, 0.0)
        of_pairs = torch.where(pair, torch.cat([1 - edges.sum(-1, keepdim=True).clamp_max(1), edges], -1), 0.0)
        found = torch.cat(
            [
                torch.cat([(~node).to(x), of_nodes, found[:, : self.nodes, 1 + self.node_types :]], -1),
                torch.cat([(~pair).to(x), found[:, self.nodes :, 1 : 1 + self.node_types], of_pairs], -1),
            ],
            1,
        )
        return found

    def encode(self, tokens: Tensor, stems: Tensor | None = None) -> Tensor:
        """Clean states (B, D) of tokens (B, L), with properties (B, K)."""
        there = tokens[:, : self.nodes] > 0
        width = 2 + self.node_types + self.edge_types
        law = torch.nn.functional.one_hot(tokens, width).float().log()
        return self.clean(law, there, stems)

    def decode(self, x: Tensor) -> Tensor:
        """Tokens (B, L) of clean states (B, D): the type of an edge where its number is above .5, else no edge."""
        parts, there = self.split(x), self.there(x)
        most, best = parts.edges.max(-1)
        edges = torch.where(most > 0.5, 2 + self.node_types + best, 1 + self.node_types)
        types = 1 + parts.types.argmax(-1) if self.kinds else torch.ones_like(there, dtype=torch.long)
        return torch.cat([types * there, edges * self.both(there)], 1)


__all__ = ["CLEAR", "PRESENT", "Layout", "Parts"]
