"""Distances, shares and the classifier know what is the same and what is not."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest

from guidekit.domains.graphs.descriptors import DESCRIPTORS, clustering, degrees, distances, mmd, rows_of, spectra
from guidekit.domains.graphs.generators import dataset, generate
from guidekit.domains.graphs.metrics import evaluate, evaluate_molecules
from guidekit.domains.graphs.polygraph import discrepancy
from guidekit.domains.graphs.validity import Known, fresh, validity


def test_descriptors_of_a_triangle_with_a_tail():
    graph = nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)])
    assert degrees([graph]).tolist() == [[0, 0.25, 0.5, 0.25]]
    shares = clustering([graph])[0]
    assert shares[0] == 0.25 and shares[33] == 0.25 and shares[99] == 0.5
    values = np.linalg.eigvalsh(nx.normalized_laplacian_matrix(graph).toarray())
    np.testing.assert_allclose(spectra([graph])[0] * 4, np.histogram(values, 200, (-1e-5, 2))[0])


def test_a_distance_by_hand():
    """Histograms (1, 0) and (0, 1): total variation 1, one bin apart; kernel e^(-1/2) across, 1 within."""
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert mmd("degree", a, b) == pytest.approx(2 - 2 * math.exp(-0.5))
    assert mmd("degree", a, np.array([[0.0, 0.0, 1.0]]), "emd") == pytest.approx(2 - 2 * math.exp(-2.0))
    assert mmd("degree", a, a) == 0
    with pytest.raises(ValueError, match="kernel='rbf'; tv or emd"):
        mmd("degree", a, b, "rbf")


def test_distances_of_one_family_are_below_those_of_two():
    first, second = rows_of(generate("planar-20", 40)), rows_of(generate("planar-20", 40, seed=2))
    other = rows_of([nx.gnm_random_graph(20, 48, seed=i) for i in range(40)])
    near, far = distances(first, second), distances(first, other)
    assert all(near[name] < 0.3 * far[name] for name in DESCRIPTORS)
    assert discrepancy(first, other) > 0.8 and discrepancy(first, second) < 0.5
    assert math.isnan(discrepancy({k: v[:5] for k, v in first.items()}, second))


def test_the_classifier_says_nothing_of_one_law():
    values = [
        discrepancy(rows_of(generate("tree-20", 60, seed=i)), rows_of(generate("tree-20", 60, seed=9))) for i in (1, 2)
    ]
    assert np.mean(values) < 0.35  # 0 but for noise: the bound is negative or small


def test_same_graphs():
    path, relabelled = nx.path_graph(4), nx.relabel_nodes(nx.path_graph(4), {0: 3, 3: 1, 1: 0})
    assert fresh([path, relabelled, None, nx.star_graph(3)]).tolist() == [True, False, False, True]
    typed = nx.path_graph(4)
    nx.set_node_attributes(typed, {0: "N", 1: "C", 2: "C", 3: "C"}, "type")
    assert path not in Known([typed]) and typed in Known([typed])
    bonds = typed.copy()
    nx.set_edge_attributes(bonds, "double", "type")
    assert bonds not in Known([typed])


@pytest.mark.parametrize("name", ["planar-20", "tree-32", "grid-36", "lobster-30", "sbm"])
def test_families_are_valid_and_random_graphs_are_not(name):
    graphs = generate(name, 6, seed=5)
    accepted = validity(name)
    assert np.mean([accepted(graph) for graph in graphs]) >= 0.8  # block models: 19 of 20 here
    same_size = [nx.gnm_random_graph(len(g), g.number_of_edges(), seed=1) for g in graphs[:3]]
    assert not any(accepted(graph) for graph in same_size)


def test_evaluation_beside_an_exact_sampler():
    train, test = dataset("community-small", "train"), dataset("community-small", "test")
    fair = generate("community-small", 30, seed=21)
    found = evaluate([*fair, None, train[0]], test, train, "community-small")
    assert found["n"] == 32 and found["valid"] == pytest.approx(31 / 32)
    assert found["novel"] == pytest.approx(30 / 32) and found["vun"] <= 30 / 32
    assert found["ratio"] == pytest.approx(np.mean([found[f"ratio_{name}"] for name in DESCRIPTORS]))
    assert 0.2 < found["exact_ratio"] < 6 and "exact_ is a sampler of community-small" in found["note"]
    copied = evaluate(list(train), test, train, "community-small", exact=False)
    assert copied["ratio"] == pytest.approx(1) and copied["novel"] == 0 and copied["vun"] == 0


def test_trees_have_no_ratio_of_clustering():
    train, test = dataset("tree-20", "train"), dataset("tree-20", "test")
    found = evaluate(generate("tree-20", 25, seed=3), test, train, "tree-20", exact=False)
    assert math.isnan(found["ratio_clustering"]) and math.isfinite(found["ratio"]) and "alike" in found["note"]
    assert found["of_family"] == 1 and found["vun"] > 0.9


def test_molecules():
    chem = pytest.importorskip("rdkit.Chem")
    from guidekit.domains.graphs.molecules import graph_of

    graphs = [graph_of(chem.MolFromSmiles(text)) for text in ("CCO", "OCC", "CC", "C.C")]
    found = evaluate_molecules([*graphs, None], training=["CC"], fcd=False)
    assert found["valid"] == 0.8 and found["valid_connected"] == 0.6
    assert found["unique"] == 0.75 and found["novel"] == pytest.approx(2 / 3)
