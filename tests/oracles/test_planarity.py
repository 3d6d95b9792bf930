"""Drawings that grow: an edge is allowed where the whole graph allows it, and no drawing has a crossing."""

import itertools
import random

import networkx as nx
import pytest

from guidekit.samplers.planarity import Drawing


@pytest.mark.parametrize("n", [5, 6, 9, 14])
@pytest.mark.parametrize("seed", range(6))
def test_edges_are_allowed_as_the_whole_graph_allows_them(n, seed):
    drawing, beside = Drawing(nx.empty_graph(n)), nx.empty_graph(n)
    pairs = list(itertools.combinations(range(n), 2))
    random.Random(seed).shuffle(pairs)
    for i, j in pairs:
        beside.add_edge(i, j)
        planar = nx.check_planarity(beside)[0]
        assert drawing.allows(i, j) == planar
        if planar:
            drawing.insert(i, j)
            drawing.drawn.check_structure()  # Euler's formula for its faces
        else:
            beside.remove_edge(i, j)
    assert set(map(frozenset, drawing.graph.edges)) == set(map(frozenset, beside.edges))
    assert len(beside.edges) == 3 * n - 6  # no more can be added


def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="without crossings"):
        Drawing(nx.complete_graph(5))
    drawing = Drawing(nx.Graph(nx.complete_graph(5).edges - {(3, 4)}))
    with pytest.raises(ValueError, match="edge between 3 and 4"):
        drawing.insert(3, 4)
    assert drawing.graph.number_of_edges() == 9
