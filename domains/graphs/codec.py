"""Between graphs and the states of a prior: types of nodes, and types of edges of the upper triangle."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from guidekit.priors.adjacency_layout import Layout

from .vocabulary import Vocabulary

PLAIN_NODES, PLAIN_EDGES = ("node",), ("edge",)
"""Names of the types where graphs say none."""


@functools.cache
def pairs(places: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends (i < j) of the edges of N places in the order of a state: the upper triangle, row by row."""
    i, j = np.triu_indices(places, 1)
    return i, j


@dataclass(frozen=True)
class GraphCodec:
    """Graphs of at most N nodes as tokens.

    A state is one row of tokens (B, L), see `Vocabulary`: N places of nodes, then the pairs of the upper triangle.

    Args:
        places: N.
        node_types: names, the node attribute `type`; empty where nodes are all alike and have none.
        edge_types: names, the edge attribute `type`; likewise.
        accepts: whether a graph is an object at all; None takes every graph.
    """

    places: int
    node_types: tuple[str, ...] = ()
    edge_types: tuple[str, ...] = ()
    accepts: Callable[[nx.Graph], bool] | None = None

    def __post_init__(self) -> None:
        """Refuse what names no graphs."""
        if self.places < 1:
            raise ValueError(f"places={self.places}; a graph has at least 1 node")
        for what, names in (("node", self.node_types), ("edge", self.edge_types)):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} types {', '.join(names)}: one is named twice")

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """Which numbers stand for what."""
        return Vocabulary(self.places, self.node_types or PLAIN_NODES, self.edge_types or PLAIN_EDGES)

    @property
    def language(self) -> str:
        """See `guidekit.core.prior.Codec`."""
        rule = "" if self.accepts is None else f" {self.accepts.__name__}"
        return f"graphs {self.places} {'|'.join(self.node_types)} {'|'.join(self.edge_types)}{rule}"

    def encode(self, objects: Sequence[nx.Graph]) -> Tensor:
        """States (B, L) of graphs with the nodes 0 .. n - 1.

        Raises:
            ValueError: a graph without nodes, with more than N, with loops, directions, several edges between two
                nodes, or a type that the codec does not know.
        """
        nodes = np.full((len(objects), self.places), -1, dtype=np.int64)
        edges = np.zeros((len(objects), self.places * (self.places - 1) // 2), dtype=np.int64)
        for row, graph in enumerate(objects):
            self._check(graph, row)
            for node, kind in graph.nodes(data="type"):
                nodes[row, node] = self._token(self.node_types, kind, "node", row)
            for one, other, kind in graph.edges(data="type"):
                i, j = min(one, other), max(one, other)
                place = i * self.places - i * (i + 1) // 2 + j - i - 1
                edges[row, place] = 1 + self._token(self.edge_types, kind, "edge", row)
        return self.vocabulary.join(torch.from_numpy(nodes), torch.from_numpy(edges))

    def decode(self, states: Tensor) -> list[nx.Graph | None]:
        """Graphs of states (B, L); None where a token is none of its place, no node is there, or an edge has no node.

        Nodes are numbered in the order of their places, wherever the absent ones stand.
        """
        nodes, edges = self.vocabulary.split(states.detach().cpu())
        return [self._graph(*each) for each in zip(nodes.numpy(), edges.numpy(), strict=True)]

    def _graph(self, nodes: np.ndarray, edges: np.ndarray) -> nx.Graph | None:
        there = nodes >= 0
        known = (nodes < len(self.vocabulary.nodes)).all() and (np.abs(edges) <= len(self.vocabulary.edges)).all()
        if not there.any() or not known or (nodes < -1).any():
            return None
        i, j = pairs(self.places)
        both, on = there[i] & there[j], np.flatnonzero(edges > 0)
        if not both[on].all() or (edges[both] < 0).any():
            return None
        number = np.cumsum(there) - 1
        graph = nx.empty_graph(int(there.sum()))
        ends = zip(number[i[on]].tolist(), number[j[on]].tolist(), strict=True)
        if self.edge_types:
            kinds = (self.edge_types[token - 1] for token in edges[on])
            graph.add_edges_from((a, b, {"type": kind}) for (a, b), kind in zip(ends, kinds, strict=True))
        else:
            graph.add_edges_from(ends)
        if self.node_types:
            nx.set_node_attributes(graph, dict(enumerate(self.node_types[token] for token in nodes[there])), "type")
        return graph if self.accepts is None or self.accepts(graph) else None

    def _check(self, graph: nx.Graph, row: int) -> None:
        size = graph.number_of_nodes()
        if graph.is_directed() or graph.is_multigraph():
            kind = "is directed" if graph.is_directed() else "may have several edges between two nodes"
            raise ValueError(f"graph {row} {kind}; states hold simple undirected graphs: networkx.Graph(graph)")
        if size == 0:
            raise ValueError(f"graph {row} has no nodes; states hold graphs of 1 to {self.places}")
        if size > self.places:
            raise ValueError(f"graph {row} has {size} nodes, and states of this prior have {self.places} at most")
        if set(graph.nodes) != set(range(size)):
            raise ValueError(
                f"graph {row}: nodes are to be 0 to {size - 1}, see networkx.convert_node_labels_to_integers"
            )
        if nx.number_of_selfloops(graph):
            raise ValueError(f"graph {row} has an edge from a node to itself, which states do not hold")

    def _token(self, names: tuple[str, ...], kind: Any, what: str, row: int) -> int:
        if not names:
            return 0
        if kind not in names:
            raise ValueError(f"graph {row}: {what} type {kind!r} is none of {', '.join(names)}")
        return names.index(kind)


@dataclass(frozen=True)
class AdjacencyCodec:
    """Graphs as real numbers, see `guidekit.priors.adjacency_layout.Layout`: edges are those above .5.

    Args:
        graphs: codec of the tokens.
        layout: of the states.
        measured: properties (B, K) of graphs in the unit of states; None where states have none.
    """

    graphs: GraphCodec
    layout: Layout
    measured: Callable[[Sequence[nx.Graph]], Tensor] | None = None

    @property
    def language(self) -> str:
        """See `guidekit.core.prior.Codec`."""
        return f"{self.graphs.language} as numbers, {self.layout.stems} properties"

    @property
    def accepts(self) -> Callable[[nx.Graph], bool] | None:
        """See `GraphCodec`."""
        return self.graphs.accepts

    def encode(self, objects: Sequence[nx.Graph]) -> Tensor:
        """States (B, D) of graphs, see `GraphCodec.encode`."""
        return self.layout.encode(self.graphs.encode(objects), self.measured and self.measured(objects))

    def decode(self, states: Tensor) -> list[nx.Graph | None]:
        """Graphs of states (B, D), see `GraphCodec.decode`."""
        return self.graphs.decode(self.layout.decode(states.detach().cpu()))


def codec_from(vocabulary: Vocabulary, accepts: Callable[[nx.Graph], bool] | None = None) -> GraphCodec:
    """The codec of a prior; its types have no names in graphs where it knows a single one, as `Vocabulary` names it."""
    nodes, edges = tuple(vocabulary.nodes), tuple(vocabulary.edges)
    return GraphCodec(
        vocabulary.most, () if nodes == PLAIN_NODES else nodes, () if edges == PLAIN_EDGES else edges, accepts
    )


def codec_of(graphs: Sequence[nx.Graph], places: int | None = None) -> GraphCodec:
    """The codec of graphs with the types that they hold, in the order of the alphabet.

    Args:
        graphs: with the attribute `type` at all nodes or at none, and at all edges or none.
        places: most nodes; None is that of the graphs.

    Raises:
        ValueError: no graph, or types at some of them only.
    """
    if not graphs:
        raise ValueError("no graphs: nothing says which types they have")
    found: list[tuple[str, ...]] = []
    for what, kinds in (
        ("nodes", [kind for graph in graphs for _, kind in graph.nodes(data="type")]),
        ("edges", [kind for graph in graphs for *_, kind in graph.edges(data="type")]),
    ):
        named = {kind for kind in kinds if kind is not None}
        if named and None in kinds:
            raise ValueError(f"{kinds.count(None)} of {len(kinds)} {what} have no type; all or none of them need one")
        found.append(tuple(sorted(map(str, named))))
    return GraphCodec(places or max(len(graph) for graph in graphs), found[0], found[1])
