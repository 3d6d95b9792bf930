"""Which numbers stand for what in the state of a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

ABSENT = 0
"""Id of every place that a graph has no node for."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Graphs of at most N nodes as one row of tokens: N places of nodes, then N (N - 1) / 2 of pairs, row by row.

    Ids are 0 for what is absent, 1 .. K for types of nodes, K + 1 for "no edge" and K + 2 .. for types of edges.

    Args:
        most: N.
        nodes: names of the types of nodes, K at least 1.
        edges: names of the types of edges, at least 1.

    Raises:
        ValueError: no node, no type, or one type twice.
    """

    most: int
    nodes: Sequence[str] = ("node",)
    edges: Sequence[str] = ("edge",)

    def __post_init__(self) -> None:
        """Check and keep tuples."""
        for name in ("nodes", "edges"):
            object.__setattr__(self, name, tuple(map(str, getattr(self, name))))
        if self.most < 1 or not self.nodes or not self.edges:
            raise ValueError(f"graphs need a node, a type of nodes and one of edges at least; got {self!r}")
        for names in (self.nodes, self.edges):
            if len(set(names)) < len(names):
                raise ValueError(f"types {', '.join(names)} are not all different")

    @property
    def size(self) -> int:
        """Number of clean ids, V."""
        return 2 + len(self.nodes) + len(self.edges)

    @property
    def no_edge(self) -> int:
        """Id of "no edge"."""
        return 1 + len(self.nodes)

    @property
    def length(self) -> int:
        """Number of places, L."""
        return self.most * (self.most + 1) // 2

    @property
    def pairs(self) -> Tensor:
        """Nodes i < j of every pair in the order of its place, (P, 2)."""
        return torch.triu_indices(self.most, self.most, 1).T

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Types of nodes (B, N) from 0, and of pairs (B, P), 0 for "no edge" and k for type k - 1; -1 is absent."""
        nodes, pairs = tokens[:, : self.most], tokens[:, self.most :]
        return nodes - 1, torch.where(pairs == ABSENT, -1, pairs - self.no_edge)

    def join(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        """Tokens (B, L) of what `split` gives; a pair with an absent node is absent, whatever is said of it."""
        there = nodes >= 0
        i, j = self.pairs.T.to(nodes.device)
        both = there[:, i] & there[:, j]
        return torch.cat([nodes + 1, torch.where(both, pairs.clamp_min(0) + self.no_edge, ABSENT)], 1)

    def described(self) -> dict[str, Any]:
        """For the description of a checkpoint, see `vocabulary_from`."""
        return {"most": self.most, "nodes": list(self.nodes), "edges": list(self.edges)}


def vocabulary_from(description: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary in the description of a checkpoint."""
    return Vocabulary(**description["graph"])


__all__ = ["ABSENT", "Vocabulary", "vocabulary_from"]
