"""Files for `guidekit examples`: small graphs, some with many triangles, in two formats."""

from __future__ import annotations

import networkx as nx

from guidekit.examples import MADE, Example

from .files import write_graphs


def small_worlds(count: int, seed: int) -> list[nx.Graph]:
    """Rings of 10 to 14 nodes, each tied to four neighbors, with some ties moved elsewhere (Watts and Strogatz)."""
    return [
        nx.connected_watts_strogatz_graph(10 + i % 5, 4, (0.1, 0.4, 0.8)[i % 3], seed=seed * count + i)
        for i in range(count)
    ]


EXAMPLES = (
    Example(
        "graphs.graphml",
        "120 connected graphs of 10 to 14 nodes with few or many triangles",
        "guidekit train domain=graphs data=graphs.graphml output=small_worlds.safetensors trainer.labels=[triangles]",
        MADE,
        lambda path: write_graphs(path, small_worlds(120, 0)),
    ),
    Example(
        "contacts.edges",
        "40 more as lists of edges",
        "guidekit evaluate domain=graphs samples=contacts.edges reference=graphs.graphml",
        MADE,
        lambda path: write_graphs(path, small_worlds(40, 1)),
    ),
)
