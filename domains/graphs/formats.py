"""Graphs as they stand in files of each kind; nothing is made of them yet, see `files`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from guidekit.io import contents
from guidekit.io.archives import npz, reason
from guidekit.io.contents import brief, text
from guidekit.io.files import write_atomic, write_npz

BROKEN = (nx.NetworkXException, ValueError, KeyError, TypeError, IndexError, SyntaxError, RecursionError)
"""What networkx raises for a file that is none; an XML error is a SyntaxError."""
ARRAYS = ("sizes", "edge_counts", "edges", "node_type", "edge_type", "adjacency", "n")
TU = ("A", "graph_indicator", "graph_labels", "node_labels", "edge_labels", "node_attributes", "edge_attributes")


def from_graphml(path: Path) -> list[nx.Graph]:
    """All graphs of a GraphML file, with the attributes of nodes, edges and graphs."""
    try:
        return list(nx.readwrite.graphml.GraphMLReader()(string=text(path)))
    except BROKEN as error:
        raise ValueError(f"{path.name} is no readable GraphML ({reason(error)})") from error


def from_gml(path: Path) -> list[nx.Graph]:
    """The graph of a GML file; the names of its nodes are their labels, where they have some."""
    lines = text(path).split("\n")
    try:
        return [nx.parse_gml(lines, label="label")]
    except nx.NetworkXError:
        try:
            return [nx.parse_gml(lines, label=None)]
        except BROKEN as error:
            raise ValueError(f"{path.name} is no readable GML ({reason(error)})") from error
    except BROKEN as error:
        raise ValueError(f"{path.name} is no readable GML ({reason(error)})") from error


def from_edges(path: Path) -> list[nx.Graph]:
    """Lines "one other" or "one other type"; a name alone is a node, an empty line begins another graph, # a remark."""
    graphs = [nx.MultiGraph()]
    for number, line in enumerate(text(path).split("\n"), 1):
        fields = line.split("#")[0].split()
        if not fields:
            if graphs[-1] and not line.strip():
                graphs.append(nx.MultiGraph())
            continue
        if len(fields) > 3:
            raise ValueError(
                f"{path.name} line {number}: {brief(line.strip())!r} has {len(fields)} fields; 1 to 3 are read"
            )
        if len(fields) == 1:
            graphs[-1].add_node(fields[0])
        else:
            graphs[-1].add_edge(*fields[:2], **({"type": fields[2]} if len(fields) == 3 else {}))
    return [graph for graph in graphs if graph]


def from_table(path: Path) -> list[nx.Graph]:
    """Rows of a CSV or TSV with the columns source and target, and type and graph where they are there."""
    table, name = text(path), path.name
    separator = contents.separator(table, "source", "\t" if path.suffix.lower() == ".tsv" else ",")
    rows = contents.rows(name, table, separator)
    head = [field.lower() for field in contents.header(rows)]
    graphs: dict[str, nx.MultiGraph] = {}
    for line, row in rows:
        given = dict(zip(head, (field.strip() for field in row), strict=False))
        if not given.get("source") or not given.get("target"):
            raise ValueError(f"{name} line {line}: {brief(separator.join(row))!r} has no source or no target")
        kind = {"type": given["type"]} if given.get("type") else {}
        graphs.setdefault(given.get("graph", ""), nx.MultiGraph()).add_edge(given["source"], given["target"], **kind)
    return list(graphs.values())


def from_npz(path: Path) -> list[nx.Graph]:
    """Of `to_npz`, or of `adjacency` (B, N, N) with the numbers of nodes `n` (B,) where they vary."""
    arrays, names = npz(path, ARRAYS)
    if "adjacency" in arrays:
        return list(_of_adjacency(path.name, arrays["adjacency"], arrays.get("n")))
    if not {"sizes", "edge_counts", "edges"} <= arrays.keys():
        raise ValueError(
            f"{path.name} has the arrays {names}; adjacency, or sizes, edge_counts and edges, are expected"
        )
    return list(_of_arrays(path.name, arrays))


def from_tu(folder: Path) -> list[nx.Graph]:
    """A set in the format of TU Dortmund, such as MUTAG: NAME_A.txt and its companions; `label` is that of a graph."""
    found = sorted(folder.glob("*_A.txt"))
    if len(found) != 1:
        raise ValueError(f"{folder} holds {len(found)} files NAME_A.txt; a set of graphs has one")
    name = found[0].name.removesuffix("_A.txt")
    lines = {key: _lines(folder / f"{name}_{key}.txt") for key in TU}
    if not lines["graph_indicator"]:
        raise ValueError(f"{folder}: {name}_graph_indicator.txt is missing, which says whose each node is")
    try:
        owner = [int(line) for line in lines["graph_indicator"]]
        numbers = sorted(set(owner))
        graphs = {number: nx.MultiDiGraph() for number in numbers}
        for node, number in enumerate(owner, 1):
            graphs[number].add_node(node, **_tu_attributes(lines, "node", node - 1))
        for place, line in enumerate(lines["A"]):
            one, other = (int(field) for field in line.split(","))
            if not (0 < one <= len(owner) and 0 < other <= len(owner)) or owner[one - 1] != owner[other - 1]:
                raise ValueError(
                    f"{name}_A.txt line {place + 1} joins nodes {one} and {other}, which are not of one graph"
                )
            graphs[owner[one - 1]].add_edge(one, other, **_tu_attributes(lines, "edge", place))
        for number, label in zip(numbers, lines["graph_labels"], strict=False):
            graphs[number].graph["label"] = label.strip()
    except (ValueError, IndexError) as error:
        raise ValueError(f"{folder} is no readable set of graphs ({reason(error)})") from error
    return [_both_ways(graph) for graph in graphs.values()]


READERS: dict[str, Callable[[Path], list[nx.Graph]]] = {
    ".graphml": from_graphml,
    ".gml": from_gml,
    ".edges": from_edges,
    ".edgelist": from_edges,
    ".txt": from_edges,
    ".csv": from_table,
    ".tsv": from_table,
    ".npz": from_npz,
}
"""By suffix."""


def to_graphml(path: Path, graphs: Sequence[nx.Graph]) -> None:
    """Write all graphs into one GraphML file."""
    writer = nx.readwrite.graphml.GraphMLWriter(encoding="utf-8", prettyprint=True)
    writer.add_graphs([_plain(graph) for graph in graphs])
    stream = io.BytesIO()
    writer.dump(stream)
    write_atomic(path, stream.getvalue())


def to_gml(path: Path, graphs: Sequence[nx.Graph]) -> None:
    """Write one graph; a GML file holds no more."""
    if len(graphs) != 1:
        raise ValueError(f"{path.name}: a GML file holds one graph, not {len(graphs)}; .graphml and .npz hold several")
    write_atomic(path, "\n".join(nx.generate_gml(graphs[0])).encode())


def to_edges(path: Path, graphs: Sequence[nx.Graph]) -> None:
    """Write what `from_edges` reads; types of edges are kept, other attributes are not."""
    parts = []
    for graph in graphs:
        alone = [str(node) for node, degree in graph.degree if degree == 0]
        ends = [
            " ".join(str(one) for one in (a, b, kind) if one is not None) for a, b, kind in graph.edges(data="type")
        ]
        parts.append("\n".join([*alone, *ends]) + "\n")
    write_atomic(path, "\n".join(parts).encode())


def to_npz(path: Path, graphs: Sequence[nx.Graph], columns: Mapping[str, Any] | None = None) -> None:
    """Write numbers of nodes and edges of each graph, the edges (E, 2) of all, and types where there are some."""
    nodes = [kind for graph in graphs for _, kind in sorted(graph.nodes(data="type"))]
    edges = [edge for graph in graphs for edge in graph.edges(data="type")]
    arrays: dict[str, Any] = {
        "sizes": [len(graph) for graph in graphs],
        "edge_counts": [graph.number_of_edges() for graph in graphs],
        "edges": np.array([edge[:2] for edge in edges], np.int64).reshape(-1, 2),
    }
    if any(kind is not None for kind in nodes):
        arrays["node_type"] = [str(kind) for kind in nodes]
    if any(kind is not None for *_, kind in edges):
        arrays["edge_type"] = [str(kind) for *_, kind in edges]
    write_npz(path, {**arrays, **(columns or {})})


WRITERS: dict[str, Callable[[Path, Sequence[nx.Graph]], None]] = {
    ".graphml": to_graphml,
    ".gml": to_gml,
    ".edges": to_edges,
    ".edgelist": to_edges,
    ".txt": to_edges,
    ".npz": to_npz,
}
"""By suffix."""


def _plain(graph: nx.Graph) -> nx.Graph:
    """A graph whose attributes are numbers and text."""
    made = nx.Graph(**{key: _simple(value) for key, value in graph.graph.items()})
    made.add_nodes_from(
        (node, {key: _simple(value) for key, value in held.items()}) for node, held in graph.nodes.items()
    )
    made.add_edges_from(
        (*ends, {key: _simple(value) for key, value in held.items()}) for ends, held in graph.edges.items()
    )
    return made


def _simple(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _of_adjacency(name: str, adjacency: np.ndarray, sizes: np.ndarray | None) -> Iterator[nx.Graph]:
    if adjacency.ndim != 3 or adjacency.shape[1] != adjacency.shape[2]:
        raise ValueError(f"{name}: adjacency has shape {adjacency.shape}; (graphs, N, N) is expected")
    for row, each in enumerate(adjacency):
        size = len(each) if sizes is None else int(sizes[row])
        inside = each[:size, :size]
        if not np.isin(inside, (0, 1)).all():
            raise ValueError(
                f"{name}: adjacency of graph {row} holds other numbers than 0 and 1; choose a threshold first"
            )
        if each.sum() != inside.sum():
            raise ValueError(f"{name}: graph {row} has edges beyond its n={size} nodes")
        symmetric = (inside == inside.T).all()
        yield nx.from_numpy_array(
            inside.astype(int), create_using=nx.Graph if symmetric else nx.DiGraph, edge_attr=None
        )


def _of_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> Iterator[nx.Graph]:
    sizes, counts, edges = (np.asarray(arrays[key], int) for key in ("sizes", "edge_counts", "edges"))
    kinds, bonds = arrays.get("node_type"), arrays.get("edge_type")
    fits = edges.shape == (counts.sum(), 2) and len(sizes) == len(counts)
    if (
        not fits
        or (kinds is not None and len(kinds) != sizes.sum())
        or (bonds is not None and len(bonds) != len(edges))
    ):
        raise ValueError(f"{name}: sizes, edge_counts, edges and types do not have the lengths of one set of graphs")
    node, edge = 0, 0
    for row, (size, count) in enumerate(zip(sizes.tolist(), counts.tolist(), strict=True)):
        graph = nx.MultiGraph()
        graph.add_nodes_from((i, {} if kinds is None else {"type": str(kinds[node + i])}) for i in range(size))
        for place in range(edge, edge + count):
            one, other = edges[place].tolist()
            if not (0 <= one < size and 0 <= other < size):
                raise ValueError(f"{name}: graph {row} has {size} nodes and an edge from {one} to {other}")
            graph.add_edge(one, other, **({} if bonds is None else {"type": str(bonds[place])}))
        node, edge = node + size, edge + count
        yield graph


def _lines(path: Path) -> list[str]:
    return [line for line in text(path).split("\n") if line.strip()] if path.exists() else []


def _tu_attributes(lines: Mapping[str, list[str]], what: str, place: int) -> dict[str, Any]:
    """Label (as `type`) and numbers of a node or an edge."""
    found: dict[str, Any] = {"type": lines[f"{what}_labels"][place].strip()} if lines[f"{what}_labels"] else {}
    if lines[f"{what}_attributes"]:
        found["attributes"] = tuple(float(field) for field in lines[f"{what}_attributes"][place].split(","))
    return found


def _both_ways(graph: nx.MultiDiGraph) -> nx.Graph:
    """An undirected graph of one that has every edge in both directions, as the format asks; others stay directed."""
    if all(graph.has_edge(b, a) for a, b in graph.edges()):
        return nx.Graph(graph)
    return graph
