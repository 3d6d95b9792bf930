"""Drawings without crossings that grow edge by edge: most edges lie in a face, and need no new test of the graph."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx


class Drawing:
    """A planar graph with one of its drawings, as the order of the edges around every node.

    An edge between two nodes of one face can be drawn there. One that cannot may still fit another drawing of the same
    graph, so that then the graph is tested as a whole, and drawn anew.

    Args:
        graph: planar, or a ValueError.
    """

    def __init__(self, graph: nx.Graph) -> None:
        self.graph = graph
        planar, drawn = nx.check_planarity(graph)
        if not planar:
            raise ValueError("the graph cannot be drawn without crossings")
        self.drawn: nx.PlanarEmbedding = drawn
        self._fits: tuple[int, int, object] | None = None

    def allows(self, i: int, j: int) -> bool:
        """Whether the graph with an edge between i and j, which have none, is planar."""
        corners = self._corners(i, j)
        if corners is not None:
            self._fits = i, j, corners
            return True
        self.graph.add_edge(i, j)
        planar, drawn = nx.check_planarity(self.graph)
        self.graph.remove_edge(i, j)
        self._fits = (i, j, drawn) if planar else None
        return bool(planar)

    def insert(self, i: int, j: int) -> None:
        """Add an edge that is allowed."""
        fits = self._fits if self._fits is not None and self._fits[:2] == (i, j) else None
        if fits is None and not self.allows(i, j):
            raise ValueError(f"with an edge between {i} and {j} the graph cannot be drawn without crossings")
        found = self._fits[2]  # type: ignore[index]
        self.graph.add_edge(i, j)
        self._fits = None
        if isinstance(found, nx.PlanarEmbedding):
            self.drawn = found
            return
        before_i, before_j = found  # type: ignore[misc]
        self.drawn.add_half_edge(i, j, cw=before_i)
        self.drawn.add_half_edge(j, i, cw=before_j)

    def _corners(self, i: int, j: int) -> tuple[int | None, int | None] | None:
        """The neighbors of i and of j after which, counterclockwise, an edge between them crosses none; None: nowhere.

        Parts that are not connected lie in each other's faces, whichever.
        """
        around = self.drawn
        for before in around[i]:
            for came, here in _face(around, before, i):
                if here == j:
                    return before, came
        if nx.has_path(self.graph, i, j):
            return None
        return next(iter(around[i]), None), next(iter(around[j]), None)


def _face(drawn: nx.PlanarEmbedding, before: int, i: int) -> Iterator[tuple[int, int]]:
    """(node, next node) along the face whose corner at i comes after the edge to `before`."""
    came, here = i, drawn[i][before]["ccw"]
    start = (came, here)
    while True:
        yield came, here
        came, here = here, drawn[here][came]["ccw"]
        if (came, here) == start:
            return


__all__ = ["Drawing"]
