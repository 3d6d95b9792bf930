"""Molecules are graphs and come back from them."""

from __future__ import annotations

import networkx as nx
import pytest

from guidekit.domains.graphs.codec import codec_from
from guidekit.domains.graphs.molecules import (
    BONDS,
    atom_name,
    atom_of,
    graph_of,
    is_molecular,
    is_molecule,
    molecule_codec,
    read_molecules,
    smiles_of,
)

chem = pytest.importorskip("rdkit.Chem")
SMILES = [
    "C",
    "c1ccccc1O",
    "C#CC=O",
    "C[N+](C)(C)CC(=O)[O-]",
    "c1cc[nH]c1",
    "[O-][NH+]=C1CC1",
    "NC=[NH2+]",
    "O=S(=O)(C)C",
]


@pytest.mark.parametrize("text", SMILES)
def test_round_trip_of_one(text):
    wanted = chem.CanonSmiles(text)
    graph = graph_of(chem.MolFromSmiles(text))
    assert smiles_of(graph) == wanted
    relabelled = nx.relabel_nodes(graph, {v: len(graph) - 1 - v for v in graph})
    assert smiles_of(relabelled) == wanted


def test_round_trip_through_states():
    graphs = [graph_of(chem.MolFromSmiles(text)) for text in SMILES]
    codec = molecule_codec(sorted({kind for g in graphs for _, kind in g.nodes(data="type")}), 12)
    assert codec.edge_types == BONDS and is_molecular(codec)
    assert [smiles_of(g) for g in codec.decode(codec.encode(graphs))] == [chem.CanonSmiles(s) for s in SMILES]
    assert codec_from(codec.vocabulary, is_molecule) == codec


@pytest.mark.parametrize(("name", "atom"), [("C", ("C", 0)), ("Cl-", ("Cl", -1)), ("S+2", ("S", 2)), ("N+", ("N", 1))])
def test_names_of_atoms(name, atom):
    assert atom_of(name) == atom and atom_name(*atom) == name


def test_a_broken_valence_is_no_object():
    graph = nx.star_graph(5)
    nx.set_node_attributes(graph, "C", "type")
    nx.set_edge_attributes(graph, "single", "type")
    assert not is_molecule(graph) and smiles_of(graph) is None
    codec = molecule_codec(("C",), 6)
    assert codec.decode(codec.encode([graph])) == [None]
    graph.remove_node(5)
    assert smiles_of(graph) == "CC(C)(C)C" and codec.decode(codec.encode([graph])) != [None]


def test_files_of_molecules(tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("CCO\nOCC\nC/C=C/C\n[CH3]\nC[C@H](N)O\n")
    graphs, told = read_molecules(path)
    assert [smiles_of(g) for g in graphs] == ["CCO", "CC=CC", "CC(N)O"]
    assert told == "1 molecules are left out, which their atoms, charges and bonds do not give back"
