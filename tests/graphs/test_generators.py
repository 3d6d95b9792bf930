"""Sets of graphs are what they are called, the same by seed, and pass through states unchanged."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch

from guidekit.domains.graphs.codec import GraphCodec, codec_from, codec_of, pairs
from guidekit.domains.graphs.generators import FAMILIES, dataset, family, generate
from guidekit.errors import UnknownNameError


def edges(graph):
    return sorted(map(tuple, map(sorted, graph.edges)))


@pytest.mark.parametrize("name", ["planar-20", "sbm-40", "tree-32", "community-small", "grid-36", "lobster-30"])
def test_graphs_come_by_number(name):
    five, eight = generate(name, 5, seed=3), generate(name, 8, seed=3)
    assert [edges(g) for g in five] == [edges(g) for g in eight[:5]]
    assert [edges(g) for g in generate(name, 3, seed=3, first=5)] == [edges(g) for g in eight[5:]]
    assert all(nx.is_connected(g) or name.startswith("community") for g in eight)
    assert all(sorted(g.nodes) == list(range(len(g))) and not nx.number_of_selfloops(g) for g in eight)


def test_families_are_what_they_are_called():
    assert all(nx.check_planarity(g)[0] and len(g) == 64 for g in generate("planar", 5))
    assert all(nx.is_tree(g) and len(g) == 64 for g in generate("tree", 5))
    assert all(nx.is_tree(g) and 10 <= len(g) <= 100 for g in generate("lobster", 5))
    for g in generate("lobster", 5):  # without leaves twice, a path is left
        for _ in range(2):
            g = g.subgraph([v for v in g if g.degree[v] > 1])
        assert len(g) == 0 or max(dict(g.degree).values(), default=0) <= 2
    assert all(40 <= len(g) <= 200 for g in generate("sbm", 3))
    assert all(12 <= len(g) <= 20 for g in generate("community-small", 30))
    grids = generate("grid", 100)
    assert len({len(g) for g in grids}) > 30 and max(map(len, grids)) == 361 and min(map(len, grids)) == 100


def test_community_has_the_densities_it_says():
    found = np.array([[*_densities(g)] for g in generate("community", 200)])
    assert found[:, 0].mean() == pytest.approx(0.7, abs=0.02)  # 4 standard errors
    assert found[:, 1].mean() == pytest.approx(0.056, abs=0.01)  # .05, and at least one edge


def _densities(graph):
    half = len(graph) // 2
    across = sum(i < half <= j or j < half <= i for i, j in graph.edges)
    inside = half * (half - 1) / 2 + (len(graph) - half) * (len(graph) - half - 1) / 2
    return (graph.number_of_edges() - across) / inside, across / (half * (len(graph) - half))


def test_the_standard_split():
    parts = {split: dataset("community-small", split) for split in ("train", "validation", "test")}
    assert {name: len(graphs) for name, graphs in parts.items()} == {"train": 64, "validation": 16, "test": 20}
    more = dataset("community-small", "train", count=100)
    assert len(more) == 100 and [edges(g) for g in more[:64]] == [edges(g) for g in parts["train"]]
    every = {tuple(edges(g)) for graphs in (*parts.values(), more[64:]) for g in graphs}
    assert len(every) == 136
    assert [len(dataset("planar-20", split)) for split in ("train", "validation", "test")] == [128, 32, 40]
    with pytest.raises(ValueError, match="split='dev'; one of test, validation, train"):
        dataset("planar", "dev")


def test_names():
    assert family("planar") == ("planar", 64) and family("tree-32") == ("tree", 32)
    assert family("community-small") == ("community", 20) and set(FAMILIES) >= {"grid", "lobster"}
    with pytest.raises(UnknownNameError, match="planer"):
        family("planer-64")
    assert {len(g) for g in generate("tree-9-12", 30)} == {9, 10, 11, 12} and family("tree-9-12") == ("tree", 12)
    with pytest.raises(ValueError, match="grid-9-16: a range of nodes, least first, is for planar and tree graphs"):
        family("grid-9-16")
    with pytest.raises(ValueError, match="planar-2: planar graphs have at least 4 nodes"):
        family("planar-2")


@pytest.mark.parametrize("name", ["planar-20", "community-small"])
def test_round_trip(name):
    graphs = generate(name, 6)
    codec = codec_of(graphs, 24)
    states = codec.encode(graphs)
    assert states.shape == (6, 24 + 276)
    assert [edges(g) for g in codec.decode(states)] == [edges(g) for g in graphs]
    assert (states[:, :24] != 0).sum(1).tolist() == [len(g) for g in graphs]
    assert codec_from(codec.vocabulary) == codec


def test_types_and_the_order_of_edges():
    graph = nx.Graph()
    graph.add_nodes_from([(2, {"type": "N"}), (0, {"type": "C"}), (1, {"type": "C"})])
    graph.add_edge(2, 0, type="double")
    graph.add_edge(1, 2, type="single")
    codec = GraphCodec(4, ("C", "N", "O"), ("single", "double"))
    states = codec.encode([graph])
    no, single, double, absent = 4, 5, 6, 0
    assert states.tolist() == [[1, 1, 2, absent, no, double, absent, single, absent, absent]]
    assert [tuple(map(int, p)) for p in zip(*pairs(4), strict=True)] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    (again,) = codec.decode(states)
    assert nx.utils.graphs_equal(again, graph)
    assert codec_of([graph]) == GraphCodec(3, ("C", "N"), ("double", "single"))


def test_what_is_no_graph():
    codec, absent, node, no, edge, mask = GraphCodec(3), 0, 1, 2, 3, 4
    rows = [
        [node, node, absent, edge, absent, absent],
        [absent, absent, absent, absent, absent, absent],  # nothing
        [node, node, absent, no, edge, absent],  # an edge without a node
        [node, mask, absent, no, absent, absent],
        [node, edge, absent, no, absent, absent],
        [node, node, absent, node, absent, absent],
        [node, absent, node, absent, edge, absent],  # the middle place is absent
    ]
    found = codec.decode(torch.tensor(rows))
    assert [g is not None for g in found] == [True, False, False, False, False, False, True]
    assert edges(found[6]) == [(0, 1)]


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (nx.empty_graph(0), "graph 0 has no nodes; states hold graphs of 1 to 3"),
        (nx.empty_graph(4), "graph 0 has 4 nodes, and states of this prior have 3 at most"),
        (nx.DiGraph([(0, 1)]), "graph 0 is directed"),
        (nx.MultiGraph([(0, 1)]), "graph 0 may have several edges"),
        (nx.Graph([(0, 0)]), "from a node to itself"),
        (nx.Graph([("a", "b")]), "nodes are to be 0 to 1"),
    ],
)
def test_graphs_that_have_no_state(graph, words):
    with pytest.raises(ValueError, match=words):
        GraphCodec(3).encode([graph])


def test_types_that_a_codec_does_not_know():
    graph = nx.empty_graph(2)
    nx.set_node_attributes(graph, "X", "type")
    with pytest.raises(ValueError, match="node type 'X' is none of C, N"):
        GraphCodec(3, ("C", "N")).encode([graph])
    del graph.nodes[0]["type"]
    with pytest.raises(ValueError, match="1 of 2 nodes have no type"):
        codec_of([graph])
