"""Constraints of graphs that insertions of edges alone can break: acyclic, planar, bounded degree; and connected.

States are rows of tokens, see `guidekit.networks.GraphTransformer`: N places of nodes, then those of pairs, whose ids
are "no edge" and, above it, types of edges. "No edge" is what an absorbing process turns pairs into.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.processes import Kinds
from guidekit.samplers.constraints import Constraint
from guidekit.samplers.planarity import Drawing

if TYPE_CHECKING:
    from guidekit.samplers.insertion import Held

MOST_KEPT = 4096
"""Drawings that are kept."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where nodes and pairs of a row of L tokens stand.

    Args:
        nodes: N.
        empty: id of "no edge".
    """

    nodes: int
    empty: int

    @functools.cached_property
    def ends(self) -> tuple[list[int], list[int]]:
        """Both nodes of every pair."""
        i, j = torch.triu_indices(self.nodes, self.nodes, 1)
        return i.tolist(), j.tolist()

    def adjacency(self, z: Tensor) -> Tensor:
        """Of rows z (B, L), (B, N, N) bool."""
        n = self.nodes
        i, j = (torch.tensor(end, device=z.device) for end in self.ends)
        edges, matrix = z[:, n:] > self.empty, torch.zeros(len(z), n, n, dtype=torch.bool, device=z.device)
        matrix[:, i, j] = matrix[:, j, i] = edges
        return matrix

    def graph(self, tokens: Tensor) -> nx.Graph:
        """Of a row (L,), on all N places."""
        made, (i, j) = nx.empty_graph(self.nodes), self.ends
        made.add_edges_from((i[k], j[k]) for k in (tokens[self.nodes :] > self.empty).nonzero()[:, 0].tolist())
        return made


@functools.lru_cache(64)
def _layout(length: int, empty: int) -> Layout:
    nodes = next(n for n in itertools.count() if n * (n + 1) // 2 >= length)
    return Layout(nodes, empty)


def layout(length: int, process: Any) -> Layout:
    """The layout of rows of L tokens of an absorbing process."""
    return _layout(length, int(process.limit.argmax()))


@dataclasses.dataclass(frozen=True, eq=False)
class GraphConstraint(Constraint):
    """Base of constraints of graphs."""

    def check(self, prior: Prior) -> None:
        """See `Constraint.check`."""
        length = prior.event_shape[0]
        if not isinstance(prior.process, Kinds) or 2 * length != (n := layout(length, prior.process).nodes) * (n + 1):
            name = type(self).__name__
            raise GuidanceError(f"{name} constrains graphs, and states of this prior ({prior.name}) are none")

    def closing(self, weights: Tensor, z: Tensor, process: Any, shut: Tensor) -> Tensor:
        """Weights (B, L, V) without edges between pairs where shut (B, N, N) is True."""
        where = layout(z.shape[1], process)
        i, j = (torch.tensor(end, device=z.device) for end in where.ends)
        return torch.cat(
            [weights[:, : where.nodes], weights[:, where.nodes :].masked_fill(shut[:, i, j][..., None], 0.0)], 1
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Acyclic(GraphConstraint):
    """No cycle: a forest, and with a connected prior a tree."""

    def opened(self, weights: Tensor, z: Tensor, process: Any) -> Tensor:
        """See `Constraint.opened`: no edge inside a component."""
        return self.closing(weights, z, process, components(layout(z.shape[1], process).adjacency(z)))

    def begin(self, tokens: Tensor, process: Any) -> tuple[Layout, list[int]]:
        """See `Constraint.begin`: the root of every node."""
        where = layout(len(tokens), process)
        held = (where, list(range(where.nodes)))
        for pair in (tokens[where.nodes :] > where.empty).nonzero()[:, 0].tolist():
            self.insert(held, where.nodes + pair, where.empty + 1)
        return held

    def allows(self, held: tuple[Layout, list[int]], place: int, token: int) -> bool:
        """See `Constraint.allows`."""
        where, parent = held
        if place < where.nodes:
            return True
        i, j = (end[place - where.nodes] for end in where.ends)
        return _root(parent, i) != _root(parent, j)

    def insert(self, held: tuple[Layout, list[int]], place: int, token: int) -> None:
        """See `Constraint.insert`."""
        where, parent = held
        if place >= where.nodes:
            i, j = (end[place - where.nodes] for end in where.ends)
            parent[_root(parent, i)] = _root(parent, j)


@dataclasses.dataclass(frozen=True, eq=False)
class Planar(GraphConstraint):
    """Can be drawn without crossing edges; drawings are kept from step to step, see `Drawing`."""

    _kept: dict[bytes, Drawn] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def begin(self, tokens: Tensor, process: Any) -> Drawn:
        """See `Constraint.begin`: the drawing that was kept, for one row, or another one."""
        where, row = layout(len(tokens), process), tokens.cpu().numpy().copy()
        return self._kept.pop(row.tobytes(), None) or Drawn(where, row, Drawing(where.graph(tokens)))

    def allows(self, held: Drawn, place: int, token: int) -> bool:
        """See `Constraint.allows`."""
        return place < held.where.nodes or held.drawing.allows(*held.pair(place))

    def insert(self, held: Drawn, place: int, token: int) -> None:
        """See `Constraint.insert`."""
        held.row[place] = token
        if place >= held.where.nodes:
            held.drawing.insert(*held.pair(place))

    def end(self, held: Drawn) -> None:
        """See `Constraint.end`: the row begins there again."""
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[held.row.tobytes()] = held


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """A row of tokens, its layout, and its drawing, which grow together."""

    where: Layout
    row: np.ndarray
    drawing: Drawing

    def pair(self, place: int) -> tuple[int, int]:
        """Both nodes of a pair."""
        first, second = self.where.ends
        return first[place - self.where.nodes], second[place - self.where.nodes]


@dataclasses.dataclass(frozen=True, eq=False)
class Degree(GraphConstraint):
    """No node has more than so many edges.

    Args:
        most: edges of a node, at least 1.

    Raises:
        ValueError: fewer than 1.
    """

    most: int

    def __post_init__(self) -> None:
        """Check the number."""
        if self.most < 1:
            raise ValueError(f"degree={self.most}; at least 1 is needed")

    def opened(self, weights: Tensor, z: Tensor, process: Any) -> Tensor:
        """See `Constraint.opened`: no edge at a node that has them all."""
        full = layout(z.shape[1], process).adjacency(z).sum(-1) >= self.most
        return self.closing(weights, z, process, full[:, :, None] | full[:, None, :])

    def begin(self, tokens: Tensor, process: Any) -> tuple[Layout, list[int]]:
        """See `Constraint.begin`: the degree of every node."""
        where = layout(len(tokens), process)
        return where, where.adjacency(tokens[None])[0].sum(-1).tolist()

    def allows(self, held: tuple[Layout, list[int]], place: int, token: int) -> bool:
        """See `Constraint.allows`."""
        where, degree = held
        return place < where.nodes or all(degree[end[place - where.nodes]] < self.most for end in where.ends)

    def insert(self, held: tuple[Layout, list[int]], place: int, token: int) -> None:
        """See `Constraint.insert`."""
        where, degree = held
        if place >= where.nodes:
            for end in where.ends:
                degree[end[place - where.nodes]] += 1


@dataclasses.dataclass(frozen=True, eq=False)
class Connected(GraphConstraint):
    """One component, for certain: at the end the most probable edges between components are inserted.

    An edge between two components closes no cycle and makes no planar graph another, so these hold still. Under a bound
    of the degree components whose nodes all have their edges stay apart; that is the only case.
    """

    def complete(self, z: Tensor, row: int, probs: Tensor, process: Any, held: Held) -> None:
        """See `Constraint.complete`."""
        where = layout(z.shape[1], process)
        there = z[row, where.nodes :] != process.pinned
        edges = probs[where.nodes :, where.empty + 1 :]
        best, kind = edges.max(-1)
        i, j = (torch.tensor(end, device=z.device) for end in where.ends)
        refused = torch.zeros_like(there)
        while True:
            together = components(where.adjacency(z[row][None]))[0]
            between = there & ~together[i, j] & ~refused
            if not between.any():
                return
            # A pair that the prediction gives no chance at all is still better than none.
            pair = int(torch.where(between, best, -1.0).argmax())
            place, token = where.nodes + pair, where.empty + 1 + int(kind[pair])
            one = torch.tensor([row], device=z.device)
            if bool(held.allow(z, one, one.new_tensor([place]), one.new_tensor([token]))[0]):
                z[row, place] = token
            else:
                refused[pair] = True


@dataclasses.dataclass(frozen=True, eq=False)
class Without(GraphConstraint):
    """No subgraph of a given shape, whatever its types: an edge that would complete one is refused.

    Args:
        shape: connected, with an edge at least; `networkx.complete_graph(3)` forbids triangles.

    Raises:
        ValueError: no edge, or several components.
    """

    shape: nx.Graph

    def __post_init__(self) -> None:
        """Check the shape."""
        if self.shape.number_of_edges() == 0 or not nx.is_connected(self.shape):
            raise ValueError("the forbidden shape must be connected and have an edge at least")

    def begin(self, tokens: Tensor, process: Any) -> tuple[Layout, nx.Graph]:
        """See `Constraint.begin`."""
        where = layout(len(tokens), process)
        return where, where.graph(tokens)

    def insert(self, held: tuple[Layout, nx.Graph], place: int, token: int) -> None:
        """See `Constraint.insert`."""
        where, graph = held
        if place >= where.nodes:
            graph.add_edge(*(end[place - where.nodes] for end in where.ends))

    def allows(self, held: tuple[Layout, nx.Graph], place: int, token: int) -> bool:
        """See `Constraint.allows`: looks only as far around the edge as the shape reaches."""
        where, graph = held
        if place < where.nodes:
            return True
        i, j = (end[place - where.nodes] for end in where.ends)
        graph.add_edge(i, j)
        part = nx.Graph(graph.subgraph(nx.single_source_shortest_path_length(graph, i, len(self.shape))))
        graph.remove_edge(i, j)
        return not nx.isomorphism.GraphMatcher(part, self.shape).subgraph_is_monomorphic()


@dataclasses.dataclass(frozen=True, eq=False)
class Fixed(GraphConstraint):
    """Some nodes and pairs of every graph are given: a subgraph that is contained, or types of nodes.

    Args:
        given: ids (L,), -1 at places that are free. Nodes that are given must be among those of every sample: ask for a
            number of nodes.
    """

    given: Tensor

    @staticmethod
    def of(codec: Any, graph: nx.Graph, missing: bool = False) -> Fixed:
        """The constraint that a graph is contained, on the nodes 0 .. k - 1.

        Args:
            codec: of the prior.
            graph: with the types of its nodes and edges.
            missing: whether pairs of its nodes without an edge have none in the sample either.
        """
        tokens, n = codec.encode([graph])[0], codec.places
        inside = torch.cat([torch.arange(n), torch.triu_indices(n, n, 1)[1]]) < len(graph)
        empty = (torch.arange(len(tokens)) >= n) & (tokens == codec.vocabulary.no_edge)
        return Fixed(torch.where(inside & (missing | ~empty), tokens, -1))

    def check(self, prior: Prior) -> None:
        """See `Constraint.check`."""
        super().check(prior)
        nodes = int((self.given[: layout(len(self.given), prior.process).nodes] > 0).sum())
        counts: Tensor = prior.length_counts  # type: ignore[attr-defined]
        if self.given.shape != prior.event_shape or counts[:nodes].any():
            raise GuidanceError(
                f"{nodes} nodes are given, and graphs of this prior ({prior.name}) may have fewer: ask for a number of "
                "nodes, num_nodes="
            )

    def opened(self, weights: Tensor, z: Tensor, process: Any) -> Tensor:
        """See `Constraint.opened`: nothing is inserted at given places."""
        return weights.masked_fill((self.given.to(z.device) >= 0)[:, None], 0.0)


def components(adjacency: Tensor) -> Tensor:
    """Whether two nodes are in one component, (B, N, N) bool, of symmetric matrices (B, N, N) bool."""
    n = adjacency.shape[-1]
    reach = (adjacency | torch.eye(n, dtype=torch.bool, device=adjacency.device)).float()
    for _ in range(max(1, (n - 1).bit_length())):
        reach = ((reach @ reach) > 0).float()
    return reach > 0


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


__all__ = ["Acyclic", "Connected", "Degree", "Fixed", "GraphConstraint", "Planar", "Without", "components"]
