"""Labels for conditional priors: a number of a graph, cut at thresholds of the training set, or a label in a file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np

from guidekit.errors import UnknownNameError

from .molecules import molecule_of
from .rewards import Clustering, Density, Diameter, Edges, Modularity, Triangles

MEASURES: dict[str, Callable[[nx.Graph], float]] = {
    kind.name: kind().measure for kind in (Edges, Triangles, Density, Clustering, Modularity, Diameter)
}
"""Cut into "low", "middle" and "high" at the terciles of the training set."""
OWN = "label"
"""The labels that stand in the file."""
THIRDS = ("low", "middle", "high")


def table(
    graphs: Sequence[nx.Graph], train: int, names: Sequence[str], own: Sequence[str] | None, molecular: bool
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Descriptions of labels, and their numbers (n, K) for graphs, the first `train` of which give the thresholds.

    Args:
        graphs: all of them.
        train: how many are trained on.
        names: of labels: measures of graphs, "label", and of molecules qed, logp and rings.
        own: labels in the file.
        molecular: whether graphs are molecules.

    Raises:
        UnknownNameError: no such label of these graphs.
    """
    described: list[dict[str, Any]] = []
    columns = []
    for name in names:
        if name == OWN and own is not None:
            classes = sorted(set(own))
            described.append({"name": name, "values": classes})
            columns.append(np.array([classes.index(one) for one in own]))
            continue
        values, quantity, cuts = _wanted(name, molecular, own is not None)
        numbers = np.array([quantity(graph) for graph in graphs], float)
        thresholds = [float(cut) for cut in cuts(numbers[:train])]
        described.append({"name": name, "values": list(values), "thresholds": thresholds})
        columns.append(np.searchsorted(thresholds, numbers, side="right"))
    return described, np.stack(columns, 1).astype(np.int8)


def numbers(graphs: Sequence[nx.Graph], names: Sequence[str]) -> np.ndarray:
    """Properties (n, K) of graphs by name.

    Raises:
        UnknownNameError: no such property.
    """
    for name in names:
        if name not in MEASURES:
            raise UnknownNameError("property of graphs", name, MEASURES)
    return np.array([[MEASURES[name](graph) for name in names] for graph in graphs], float).reshape(len(graphs), -1)


def label_of(graph: nx.Graph, description: Sequence[Mapping[str, Any]]) -> list[int]:
    """Label numbers of one graph by the thresholds of a description, -1 for those of a file."""
    found = []
    for label in description:
        if label["name"] == OWN:
            found.append(-1)
            continue
        _, quantity, _ = _wanted(label["name"], True, False)
        found.append(bisect_right(label["thresholds"], quantity(graph)))
    return found


def _wanted(
    name: str, molecular: bool, own: bool
) -> tuple[Sequence[str], Callable[[nx.Graph], float], Callable[..., Any]]:
    """Values, quantity and thresholds of a label."""
    if name in MEASURES:
        return THIRDS, MEASURES[name], lambda numbers: np.percentile(numbers, [100 / 3, 200 / 3])
    known = list(MEASURES)
    if molecular:
        from guidekit.domains.molecules.labels import LABELS

        if name in LABELS:
            quantity = LABELS[name].quantity
            return LABELS[name].values, lambda graph: quantity(_valid(graph)), LABELS[name].cuts
        known += list(LABELS)
    raise UnknownNameError("label of graphs", name, [*known, *([OWN] if own else [])])


def _valid(graph: nx.Graph) -> Any:
    molecule = molecule_of(graph)
    if molecule is None:
        raise ValueError(
            f"a molecule of {len(graph)} atoms has broken valences, and no label of it is known: leave it out"
        )
    return molecule
