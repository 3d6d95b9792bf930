"""Counts of orbits are those of looking at every set of four nodes."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from guidekit.domains.graphs.orbits import orbits

BY_DEGREES = {
    (1, 1): {1: 0},
    (1, 1, 2): {1: 1, 2: 2},
    (2, 2, 2): {2: 3},
    (1, 1, 2, 2): {1: 4, 2: 5},
    (1, 1, 1, 3): {1: 6, 3: 7},
    (2, 2, 2, 2): {2: 8},
    (1, 2, 2, 3): {1: 9, 2: 10, 3: 11},
    (2, 2, 3, 3): {2: 12, 3: 13},
    (3, 3, 3, 3): {3: 14},
}
"""Orbit of a node by its degree in a connected graph of these degrees; up to four nodes they tell graphs apart."""


def by_hand(graph):
    found = np.zeros((len(graph), 15))
    for size in (2, 3, 4):
        for chosen in itertools.combinations(graph, size):
            part = graph.subgraph(chosen)
            if nx.is_connected(part):
                degrees = dict(part.degree)
                for node, degree in degrees.items():
                    found[node, BY_DEGREES[tuple(sorted(degrees.values()))][degree]] += 1
    return found


@pytest.mark.parametrize("density", [0.15, 0.4, 0.7, 1.0])
def test_against_every_set_of_four(density):
    for seed in range(4):
        graph = nx.gnp_random_graph(9, density, seed=seed)
        np.testing.assert_allclose(orbits(graph), by_hand(graph))


def test_small_ones():
    assert orbits(nx.empty_graph(2)).sum() == 0
    assert orbits(nx.cycle_graph(4))[:, 8].tolist() == [1, 1, 1, 1]
