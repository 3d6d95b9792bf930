"""Molecules as graphs: heavy atoms with their charge as nodes, kekulised bonds as edges; valences give hydrogens."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx

from guidekit.extras import require

from .codec import GraphCodec

if TYPE_CHECKING:
    from rdkit import Chem

BONDS = ("single", "double", "triple")
"""Edge types, by bond order 1, 2, 3."""
SUFFIXES = (".smi", ".csv", ".tsv", ".sdf", ".smi.gz")
"""Of files of molecules."""


def rdkit() -> Any:
    """rdkit's module of molecules, or which extra brings it."""
    return require("molecules", "rdkit.Chem")


@functools.cache
def _symbols() -> frozenset[str]:
    """Of all elements; rdkit complains at length about others."""
    table = rdkit().GetPeriodicTable()
    return frozenset(table.GetElementSymbol(number) for number in range(1, 119))


def atom_name(symbol: str, charge: int) -> str:
    """Node type of an atom: "C", "N+", "O-", "S+2"."""
    return symbol + (
        "" if charge == 0 else ("+" if charge > 0 else "-") + (str(abs(charge)) if abs(charge) > 1 else "")
    )


def atom_of(name: str) -> tuple[str, int]:
    """Symbol and charge of a node type; the inverse of `atom_name`."""
    symbol = name.rstrip("+-0123456789")
    rest = name[len(symbol) :]
    return symbol, 0 if not rest else int(rest + "1" if len(rest) == 1 else rest)


def graph_of(molecule: Chem.Mol) -> nx.Graph:
    """The graph of a molecule, without stereochemistry, isotopes and radicals.

    Raises:
        ValueError: a bond that is none of `BONDS` once kekulised.
    """
    made = rdkit().Mol(molecule)
    rdkit().Kekulize(made, clearAromaticFlags=True)
    graph = nx.Graph()
    for atom in map(made.GetAtomWithIdx, range(made.GetNumAtoms())):  # much faster than its own iterators
        graph.add_node(atom.GetIdx(), type=atom_name(atom.GetSymbol(), atom.GetFormalCharge()))
    for bond in map(made.GetBondWithIdx, range(made.GetNumBonds())):
        order = bond.GetBondTypeAsDouble()
        if order not in (1.0, 2.0, 3.0):
            raise ValueError(
                f"a bond of type {bond.GetBondType().name.lower()}; single, double and triple are accepted"
            )
        graph.add_edge(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), type=BONDS[int(order) - 1])
    return graph


def molecule_of(graph: nx.Graph) -> Chem.Mol | None:
    """The sanitised molecule of a graph, None where valences are broken; several components are one molecule."""
    chem = rdkit()
    orders = dict(zip(BONDS, (chem.BondType.SINGLE, chem.BondType.DOUBLE, chem.BondType.TRIPLE), strict=True))
    made, index = chem.RWMol(), {}
    try:
        for node, kind in graph.nodes(data="type"):
            symbol, charge = atom_of(str(kind))
            if symbol not in _symbols():
                return None
            atom = chem.Atom(symbol)
            atom.SetFormalCharge(charge)
            index[node] = made.AddAtom(atom)
        for one, other, kind in graph.edges(data="type"):
            made.AddBond(index[one], index[other], orders[kind])
        with require("molecules", "rdkit.rdBase").BlockLogs():
            chem.SanitizeMol(made)
    except (ValueError, RuntimeError, KeyError):  # what rdkit raises for broken valences and unknown symbols
        return None
    return made.GetMol()


def is_molecule(graph: nx.Graph) -> bool:
    """Whether all valences of a graph of atoms hold."""
    return graph.number_of_nodes() > 0 and molecule_of(graph) is not None


def smiles_of(graph: nx.Graph) -> str | None:
    """Canonical SMILES of a graph of atoms, None where it is no molecule."""
    molecule = molecule_of(graph)
    return None if molecule is None else rdkit().MolToSmiles(molecule)


def is_molecular(codec: GraphCodec) -> bool:
    """Whether graphs of a codec are molecules."""
    return codec.accepts is is_molecule


def molecule_codec(node_types: Sequence[str], places: int) -> GraphCodec:
    """The codec of molecules with given atoms: what breaks a valence is no object."""
    return GraphCodec(places, tuple(node_types), BONDS, is_molecule)


def read_molecules(path: str | Path, on_error: str = "raise") -> tuple[list[nx.Graph], str]:
    """Graphs of the distinct molecules of a file of SMILES or SDF, and a sentence on what was left out.

    Raises:
        ValueError: an unreadable line (on_error="raise"), or no molecule.
    """
    from guidekit.domains.molecules.files import read

    found = read(path, on_error=on_error)
    graphs, lost = graphs_of(found.smiles)
    if not graphs:
        raise ValueError(f"{Path(path).name}: no molecule is left that its graph of atoms and bonds gives back")
    told = [f"{len(found.skipped)} unreadable lines are left out"] if found.skipped else []
    told += [f"{lost} molecules are left out, which their atoms, charges and bonds do not give back"] if lost else []
    return graphs, "; ".join(told)


def graphs_of(smiles: Sequence[str]) -> tuple[list[nx.Graph], int]:
    """Graphs of distinct molecules, without stereochemistry, and how many were left out.

    A molecule is left out where its graph does not give it back: it has radicals or unusual valences. 130,744 of QM9
    take 100 s of one core.
    """
    from guidekit.domains.molecules.files import parse

    chem, found, lost = rdkit(), dict[str, nx.Graph](), 0
    for text in smiles:
        molecule, _ = parse(text)
        if molecule is None:
            lost += 1
            continue
        chem.RemoveStereochemistry(molecule)
        flat = chem.MolToSmiles(molecule)
        if flat in found:
            continue
        clean = chem.MolFromSmiles(flat) if flat != text else molecule
        graph = None if clean is None else graph_of(clean)
        if graph is not None and smiles_of(graph) == flat:
            found[flat] = graph
        else:
            lost += 1
    return list(found.values()), lost
