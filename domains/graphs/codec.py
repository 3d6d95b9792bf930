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

from guidekit.core.state import Composite


@functools.cache
def pairs(places: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends (i < j) of the edges of N places in the order of a state: the upper triangle, row by row."""
    i, j = np.triu_indices(places, 1)
    return i, j


@dataclass(frozen=True)
class GraphCodec:
    """Graphs of at most N nodes as two rows of tokens.

    A state is a `Composite` of `nodes` (B, N) and `edges` (B, N (N - 1) / 2), both int64. Node tokens count the types;
    the one after them is "absent", for places that a graph does not have. Edge token 0 is no edge, the types follow.

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

    @property
    def absent(self) -> int:
        """Token of a place without a node."""
        return max(1, len(self.node_types))

    @property
    def node_tokens(self) -> int:
        """Number of node tokens, "absent" among them."""
        return self.absent + 1

    @property
    def edge_tokens(self) -> int:
        """Number of edge tokens, "no edge" among them."""
        return 1 + max(1, len(self.edge_types))

    @property
    def language(self) -> str:
        """See `guidekit.core.prior.Codec`."""
        rule = "" if self.accepts is None else f" {self.accepts.__name__}"
        return f"graphs {self.places} {'|'.join(self.node_types)} {'|'.join(self.edge_types)}{rule}"

    def encode(self, objects: Sequence[nx.Graph]) -> Composite:
        """States of graphs with the nodes 0 .. n - 1.

        Raises:
            ValueError: a graph without nodes, with more than N, with loops, directions, several edges between two
                nodes, or a type that the codec does not know.
        """
        nodes = np.full((len(objects), self.places), self.absent, dtype=np.int64)
        edges = np.zeros((len(objects), self.places * (self.places - 1) // 2), dtype=np.int64)
        for row, graph in enumerate(objects):
            self._check(graph, row)
            for node, kind in graph.nodes(data="type"):
                nodes[row, node] = self._token(self.node_types, kind, "node", row)
            for one, other, kind in graph.edges(data="type"):
                i, j = min(one, other), max(one, other)
                place = i * self.places - i * (i + 1) // 2 + j - i - 1
                edges[row, place] = 1 + self._token(self.edge_types, kind, "edge", row)
        return Composite({"nodes": torch.from_numpy(nodes), "edges": torch.from_numpy(edges)})

    def decode(self, states: Any) -> list[nx.Graph | None]:
        """Graphs of states; None where a token is none of the codec's, no node is there, or an edge has no node.

        Nodes are numbered in the order of their places, wherever the absent ones stand.
        """
        nodes, edges = (states.parts[name].detach().cpu() for name in ("nodes", "edges"))
        return [self._graph(*each) for each in zip(nodes.numpy(), edges.numpy(), strict=True)]

    def _graph(self, nodes: np.ndarray, edges: np.ndarray) -> nx.Graph | None:
        there = nodes != self.absent
        outside = (nodes < 0) | (nodes > self.absent) | ~there.any()
        if outside.any() or (edges < 0).any() or (edges >= self.edge_tokens).any():
            return None
        i, j = pairs(self.places)
        on = np.flatnonzero(edges)
        if not (there[i[on]] & there[j[on]]).all():
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


def sizes(states: Any, codec: GraphCodec) -> Tensor:
    """Number of nodes (B,) of states."""
    return (states.parts["nodes"] != codec.absent).sum(1)


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
    return GraphCodec(places or max(len(graph) for graph in graphs), *found)
