"""Files of graphs are read as what they are, or refused in one line."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from guidekit.domains.graphs.files import read_graphs, write_graphs
from guidekit.domains.graphs.formats import to_npz


def typed():
    graph = nx.Graph()
    graph.add_nodes_from(
        [(0, {"type": "C", "weight": 12.5}), (1, {"type": "N"}), (2, {"type": "C"}), (3, {"type": "O"})]
    )
    graph.add_edge(0, 1, type="single")
    graph.add_edge(1, 2, type="double", length=1.25)
    return graph


@pytest.mark.parametrize("suffix", [".graphml", ".gml", ".npz"])
def test_types_survive(tmp_path, suffix):
    write_graphs(tmp_path / f"a{suffix}", [typed()])
    found = read_graphs(tmp_path / f"a{suffix}")
    (graph,) = found.graphs
    assert list(graph) == [0, 1, 2, 3]
    assert dict(graph.nodes(data="type")) == {0: "C", 1: "N", 2: "C", 3: "O"}
    assert {frozenset(edge[:2]): edge[2] for edge in graph.edges(data="type")} == {
        frozenset({0, 1}): "single",
        frozenset({1, 2}): "double",
    }
    if suffix != ".npz":
        assert graph.nodes[0]["weight"] == 12.5 and graph.edges[1, 2]["length"] == 1.25
        assert (
            "length of edges is a number: it is kept with the graph, and priors do not see it (1 graph)" in found.notes
        )


def test_several_graphs(tmp_path):
    graphs = [nx.path_graph(3), nx.cycle_graph(4), nx.empty_graph(2)]
    for suffix in (".graphml", ".npz", ".edges"):
        write_graphs(tmp_path / f"a{suffix}", graphs)
        found = read_graphs(tmp_path / f"a{suffix}").graphs
        assert [(len(g), g.number_of_edges()) for g in found] == [(3, 2), (4, 4), (2, 0)], suffix
    with pytest.raises(ValueError, match="a GML file holds one graph, not 3"):
        write_graphs(tmp_path / "a.gml", graphs)


def test_edge_lists(tmp_path):
    path = tmp_path / "a.edges"
    path.write_text("# two graphs\nann bob friend\nbob cid foe # indeed\neve\n\n0 1\n1 2\n")
    found = read_graphs(path)
    first, second = found.graphs
    assert nx.get_node_attributes(first, "name") == {0: "ann", 1: "bob", 2: "cid", 3: "eve"}
    assert first.edges[0, 1]["type"] == "friend" and first.degree[3] == 0
    assert sorted(second.edges) == [(0, 1), (1, 2)] and "name" not in second.nodes[0]
    assert found.notes == "nodes are numbered, their names kept as the attribute name (1 graph)"
    path.write_text("a b c d\n")
    with pytest.raises(ValueError, match="a.edges line 1: 'a b c d' has 4 fields; 1 to 3 are read"):
        read_graphs(path)


def test_tables(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Source;Target;graph\n3;4;x\n4;5;x\n7;8;y\n")
    found = read_graphs(path).graphs
    assert [(len(g), g.number_of_edges()) for g in found] == [(3, 2), (2, 1)]


def test_loops_and_several_edges(tmp_path):
    path = tmp_path / "a.edges"
    path.write_text("0 0\n1 1\n0 1\n1 0\n")
    found = read_graphs(path)
    assert sorted(found.graphs[0].edges) == [(0, 1)]
    assert found.notes == (
        "edges from a node to itself are left out (1 graph); edges that are there several times count once (1 graph)"
    )
    path.write_text("0 1 a\n1 0 b\n")
    with pytest.raises(ValueError, match="nodes 0 and 1 have edges of types 'a' and 'b'; an edge has one type"):
        read_graphs(path)


def test_directions_are_never_lost_silently(tmp_path):
    path = tmp_path / "a.graphml"
    nx.write_graphml(nx.DiGraph([(0, 1), (1, 2)]), path)
    with pytest.raises(ValueError, match="a.graphml is directed, .*domain.directed=undirected"):
        read_graphs(path)
    found = read_graphs(path, directed="undirected")
    assert sorted(found.graphs[0].edges) == [(0, 1), (1, 2)] and found.notes == "directions are forgotten (1 graph)"
    np.savez(tmp_path / "b.npz", adjacency=np.array([[[0, 1], [0, 0]]]))
    with pytest.raises(ValueError, match="is directed"):
        read_graphs(tmp_path / "b.npz")


def test_other_attributes_as_types(tmp_path):
    graph = nx.path_graph(2)
    nx.set_node_attributes(graph, {0: "red", 1: "blue"}, "color")
    nx.set_edge_attributes(graph, 2.0, "kind")
    nx.write_graphml(graph, tmp_path / "a.graphml")
    (found,) = read_graphs(tmp_path / "a.graphml", node_type="color", edge_type="kind").graphs
    assert dict(found.nodes(data="type")) == {0: "red", 1: "blue"} and found.edges[0, 1]["type"] == "2"
    nx.set_node_attributes(graph, 0.317, "color")
    nx.write_graphml(graph, tmp_path / "a.graphml")
    with pytest.raises(ValueError, match="node 0 has the type 0.317; types are names or whole numbers"):
        read_graphs(tmp_path / "a.graphml", node_type="color")


def test_a_set_of_graphs_with_labels(tmp_path):
    folder = tmp_path / "MINI"
    folder.mkdir()
    (folder / "MINI_A.txt").write_text("1, 2\n2, 1\n3, 4\n4, 3\n4, 5\n5, 4\n")
    (folder / "MINI_graph_indicator.txt").write_text("1\n1\n2\n2\n2\n")
    (folder / "MINI_graph_labels.txt").write_text("1\n-1\n")
    (folder / "MINI_node_labels.txt").write_text("0\n1\n0\n0\n2\n")
    (folder / "MINI_edge_labels.txt").write_text("7\n7\n8\n8\n7\n7\n")
    found = read_graphs(folder)
    assert found.labels == ["1", "-1"] and [len(g) for g in found.graphs] == [2, 3]
    assert dict(found.graphs[1].nodes(data="type")) == {0: "0", 1: "0", 2: "2"}
    assert {edge[2] for edge in found.graphs[1].edges(data="type")} == {"7", "8"}
    (folder / "MINI_A.txt").write_text("1, 3\n")
    with pytest.raises(ValueError, match="joins nodes 1 and 3, which are not of one graph"):
        read_graphs(folder)


def test_adjacency(tmp_path):
    both = np.zeros((2, 3, 3))
    both[0, 0, 1] = both[0, 1, 0] = both[1, 1, 2] = both[1, 2, 1] = 1
    np.savez(tmp_path / "a.npz", adjacency=both, n=[2, 3])
    assert [(len(g), sorted(g.edges)) for g in read_graphs(tmp_path / "a.npz").graphs] == [(2, [(0, 1)]), (3, [(1, 2)])]
    np.savez(tmp_path / "a.npz", adjacency=both * 0.4)
    with pytest.raises(ValueError, match="other numbers than 0 and 1; choose a threshold first"):
        read_graphs(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pkl", "x", "reading a pickle runs whatever code it holds"),
        ("a.graphml", "<graphml", "is no readable GraphML"),
        ("a.gml", "graph [", "is no readable GML"),
        ("a.json", "{}", "graphs are read from .graphml, .gml"),
        ("a.edges", "# nothing\n", "holds no graph"),
        ("a.csv", "source,target\n1,\n", "has no source or no target"),
        ("a.npz", "x", "damaged or no npz file"),
    ],
)
def test_what_is_no_file_of_graphs(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_graphs(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_empty_graphs_are_refused_or_left_out(tmp_path):
    nx.write_graphml(nx.empty_graph(0), tmp_path / "a.graphml")
    with pytest.raises(ValueError, match="a.graphml has no nodes"):
        read_graphs(tmp_path / "a.graphml")
    folder = tmp_path / "both"
    folder.mkdir()
    nx.write_graphml(nx.empty_graph(0), folder / "a.graphml")
    nx.write_graphml(nx.path_graph(2), folder / "b.graphml")
    found = read_graphs(folder, on_error="skip")
    assert len(found.graphs) == 1 and found.notes == "1 graphs are left out, the first: a.graphml has no nodes"


def test_samples_of_a_run_keep_their_numbers(tmp_path):
    to_npz(tmp_path / "samples.npz", [nx.path_graph(2)], {"reward": [0.5]})
    assert len(read_graphs(tmp_path).graphs) == 1
