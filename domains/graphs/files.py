"""Files of graphs: what they hold becomes simple undirected graphs with the nodes 0 .. n - 1, and is said."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx

from .formats import READERS, WRITERS, from_tu
from .molecules import SUFFIXES as MOLECULES
from .molecules import read_molecules

PICKLES = (".pkl", ".pickle", ".gpickle", ".p", ".pt", ".pth")
DIRECTED = ("refuse", "undirected")


class ReadGraphs(NamedTuple):
    """Graphs of a file, the label of each where all have one, whether they are molecules, and what was made of them."""

    graphs: list[nx.Graph]
    labels: list[str] | None
    molecular: bool
    notes: str


def read_graphs(
    path: str | Path,
    directed: str = "refuse",
    node_type: str = "type",
    edge_type: str = "type",
    on_error: str = "raise",
) -> ReadGraphs:
    """Graphs of a file or folder.

    GraphML, GML, lists of edges (.edges, .edgelist, .txt: "one other [type]"), tables (.csv, .tsv: source, target,
    type, graph), NPZ, a folder in the format of TU Dortmund (MUTAG and others), a folder of such files, and molecules
    as SMILES or SDF. Attributes are kept. Loops are left out; edges that are there several times become one where
    they are of one type. Nodes are numbered in the order of the file; other names are kept as the attribute `name`.

    Args:
        path: to read.
        directed: "refuse" graphs with directions, or make them "undirected".
        node_type, edge_type: attributes that hold the types of nodes and edges; they are called `type` afterwards.
        on_error: "raise", or "skip" to leave out what cannot be used.

    Raises:
        ValueError: a file that is none, or a pickle; a graph that is empty, directed, or has types that are none.
    """
    if directed not in DIRECTED:
        raise ValueError(f"directed={directed!r}; refuse or undirected is expected")
    path = Path(path)
    if _is_molecular(path):
        found, told = read_molecules(path, on_error)
        return ReadGraphs(found, None, True, told)
    graphs, notes, failed = [], _Notes(), []
    for name, given in _given(path):
        try:
            graphs.append(_simple(name, given, directed, node_type, edge_type, notes))
        except ValueError as error:
            if on_error != "skip":
                raise
            failed.append(str(error))
    if not graphs:
        raise ValueError(f"{path} holds no graph" + (f"; the first is refused: {failed[0]}" if failed else ""))
    labels = [graph.graph.get("label") for graph in graphs]
    left_out = [f"{len(failed)} graphs are left out, the first: {failed[0]}"] if failed else []
    return ReadGraphs(
        graphs, None if None in labels else list(map(str, labels)), False, "; ".join([*notes.told(), *left_out])
    )


def write_graphs(path: str | Path, graphs: Sequence[nx.Graph]) -> None:
    """Write graphs in the format of the suffix; one at a time into GML.

    Raises:
        ValueError: a suffix that is none of them.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"{path.name}: graphs are written as {', '.join(WRITERS)}")
    WRITERS[path.suffix.lower()](path, graphs)


class _Notes:
    """How many graphs each thing was done to."""

    def __init__(self) -> None:
        self.graphs: dict[str, set[str]] = {}

    def add(self, what: str, name: str) -> None:
        self.graphs.setdefault(what, set()).add(name)

    def told(self) -> list[str]:
        return [f"{what} ({len(of)} graph{'s' if len(of) > 1 else ''})" for what, of in self.graphs.items()]


def _is_molecular(path: Path) -> bool:
    """Whether a file holds molecules: a table does unless it has the columns of edges."""
    if not path.name.lower().endswith(MOLECULES) or not path.is_file():
        return False
    if path.suffix.lower() not in (".csv", ".tsv"):
        return True
    from guidekit.io.contents import text

    first = text(path).split("\n", 1)[0].lower()
    return not ("source" in first and "target" in first)


def _given(path: Path) -> list[tuple[str, nx.Graph]]:
    """Names for messages, and graphs as they stand in a file or folder."""
    if path.is_dir() and any(path.glob("*_A.txt")):
        return [(f"{path.name}, graph {i + 1}", graph) for i, graph in enumerate(from_tu(path))]
    if path.is_dir():
        if (path / "samples.npz").is_file():
            return _given(path / "samples.npz")
        files = sorted(each for each in path.iterdir() if each.suffix.lower() in READERS)
        return [one for each in files for one in _given(each)]
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise ValueError(
            f"{path.name}: reading a pickle runs whatever code it holds; write the graphs with networkx.write_graphml "
            "and read that"
        )
    if suffix not in READERS:
        raise ValueError(f"{path.name}: graphs are read from {', '.join([*READERS, *MOLECULES[:1]])} or a folder")
    found = READERS[suffix](path)
    return [(path.name if len(found) == 1 else f"{path.name}, graph {i + 1}", graph) for i, graph in enumerate(found)]


def _simple(name: str, given: nx.Graph, directed: str, node_type: str, edge_type: str, notes: _Notes) -> nx.Graph:
    """A simple undirected graph with the nodes 0 .. n - 1, and types called `type`."""
    if given.number_of_nodes() == 0:
        raise ValueError(f"{name} has no nodes")
    if given.is_directed():
        if directed == "refuse":
            raise ValueError(
                f"{name} is directed, and priors are of undirected graphs; domain.directed=undirected forgets the "
                "directions"
            )
        notes.add("directions are forgotten", name)
    made = nx.Graph(**given.graph)
    for node, held in given.nodes(data=True):
        made.add_node(node, **_typed(name, f"node {node}", held, node_type))
    for one, other, held in given.edges(data=True):
        typed = _typed(name, f"edge {one} - {other}", held, edge_type)
        if one == other:
            notes.add("edges from a node to itself are left out", name)
            continue
        if made.has_edge(one, other):
            before = made.edges[one, other].get("type")
            if before != typed.get("type"):
                kinds = f"{before!r} and {typed.get('type')!r}"
                raise ValueError(f"{name}: nodes {one} and {other} have edges of types {kinds}; an edge has one type")
            if given.is_multigraph():
                notes.add("edges that are there several times count once", name)
            continue
        made.add_edge(one, other, **typed)
    _tell_numbers(name, made, notes)
    return _numbered(name, made, notes)


def _typed(name: str, where: str, held: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Attributes of a node or an edge, with its type as text."""
    kept = {key: value for key, value in held.items() if key != "type" or wanted == "type"}
    kind = kept.pop(wanted, None)
    if kind is None:
        return kept
    if isinstance(kind, float) and not kind.is_integer():
        raise ValueError(
            f"{name}: {where} has the type {kind}; types are names or whole numbers: put numbers into bins"
        )
    return {**kept, "type": str(int(kind)) if isinstance(kind, float) else str(kind)}


def _tell_numbers(name: str, graph: nx.Graph, notes: _Notes) -> None:
    """Say which attributes are numbers that states leave out."""
    for what, items in (
        ("nodes", graph.nodes(data=True)),
        ("edges", [(0, held) for *_, held in graph.edges(data=True)]),
    ):
        keys = {key for _, held in items for key, value in held.items() if isinstance(value, float | tuple)}
        for key in sorted(keys):
            notes.add(f"{key} of {what} is a number: it is kept with the graph, and priors do not see it", name)


def _numbered(name: str, graph: nx.Graph, notes: _Notes) -> nx.Graph:
    """Nodes 0 .. n - 1: those that are whole numbers from 0 on stay, others are numbered in the order of the file."""
    numbers = {node: int(node) for node in graph if _whole(node)}
    if len(numbers) == len(graph) and set(numbers.values()) == set(range(len(graph))):
        found = nx.Graph(**graph.graph)
        renamed = nx.relabel_nodes(graph, numbers)
        found.add_nodes_from((node, renamed.nodes[node]) for node in range(len(graph)))
        found.add_edges_from(renamed.edges(data=True))
        return found
    if not all(_whole(node) for node in graph):
        notes.add("nodes are numbered, their names kept as the attribute name", name)
    return nx.convert_node_labels_to_integers(graph, label_attribute="name")


def _whole(node: Any) -> bool:
    return isinstance(node, Integral) or (isinstance(node, str) and node.isdecimal())
