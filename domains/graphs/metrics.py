"""What generated graphs are worth: valid, unique, novel, and how far from real ones beside an exact sampler's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np

from guidekit.evaluation.checks import check_sets

from .descriptors import DESCRIPTORS, distances, rows_of
from .generators import generate
from .molecules import smiles_of
from .polygraph import LEAST, discrepancy
from .validity import Known, fresh, validity

MOST = 1_000
"""Graphs of either side that distances look at."""
EXACT = 7
"""Seed of the exact sampler: another one than that of the sets."""


def counts(graph: nx.Graph) -> dict[str, Any]:
    """Numbers of one graph, for tables."""
    return {
        "nodes": graph.number_of_nodes(),
        "edges": graph.number_of_edges(),
        "components": nx.number_connected_components(graph),
        "triangles": sum(nx.triangles(graph).values()) // 3,
    }


def evaluate(
    graphs: Sequence[nx.Graph | None],
    reference: Sequence[nx.Graph] = (),
    training: Sequence[nx.Graph] = (),
    family: str = "",
    kernel: str = "tv",
    exact: bool = True,
) -> dict[str, Any]:
    """Judge generated graphs.

    Args:
        graphs: None = invalid.
        reference: test graphs; without any, distances are left out.
        training: what the prior was trained on; without any, novelty and ratios are left out.
        family: set that they are of, such as "planar-20", whose graphs are valid; empty asks for connected ones.
        kernel: of the distances, see `descriptors.mmd`.
        exact: whether the same figures are given for graphs of the family drawn anew.

    Returns:
        n: graphs, all of which the shares below count.
        valid: those that are graphs at all; connected; of_family: graphs of the family, where it is told.
        unique: no graph before it is the same; novel: none of training is.
        vun: of the family (connected without one), unique and novel.
        mean_nodes, mean_edges.
        mmd_degree, mmd_clustering, mmd_orbit, mmd_spectral: squared, to the reference; the first 1,000 of each side.
        ratio_degree, ...: over that of training to the reference; ratio is the mean of those that are numbers.
        polygraph: see `polygraph.discrepancy`.
        exact_ratio, exact_ratio_degree, ..., exact_polygraph, exact_vun: of as many graphs of the family drawn anew.
        note: what is missing or to be read with care.

    Raises:
        ValueError: no graphs, or no such kernel.
    """
    check_sets("graphs", graphs)
    accepted = validity(family) if family else nx.is_connected
    found, notes = shares(graphs, training, accepted, bool(family)), []
    there = [graph for graph in graphs if graph is not None]
    if not there:
        return {**found, "note": "no graph is valid: nothing to compare"}
    found["mean_nodes"] = float(np.mean([graph.number_of_nodes() for graph in there]))
    found["mean_edges"] = float(np.mean([graph.number_of_edges() for graph in there]))
    if not len(reference):
        return found
    tested = rows_of(reference[:MOST])
    trained = rows_of(training[:MOST]) if len(training) else None
    found |= compared(there, tested, trained, kernel)
    if family and exact:
        drawn = generate(family, len(there), seed=EXACT)
        judged = shares(drawn, training, accepted, True)
        perfect = compared(drawn, tested, trained, kernel)
        found["exact_vun"] = judged["vun"]
        found |= {f"exact_{key}": value for key, value in perfect.items() if key.startswith(("ratio", "polygraph"))}
        notes.append(f"exact_ is a sampler of {family} itself with {len(drawn)} graphs: no figure below it means much")
    if trained is not None and not all(math.isfinite(found[f"ratio_{name}"]) for name in DESCRIPTORS):
        notes.append("a ratio without a value has training and test graphs that are alike in it")
    if min(len(there), len(reference)) < LEAST:
        notes.append(f"polygraph needs {LEAST} graphs of either side")
    return {**found, "note": "; ".join(notes)} if notes else found


def shares(
    graphs: Sequence[nx.Graph | None], training: Sequence[nx.Graph], accepted: Any, told: bool
) -> dict[str, Any]:
    """Shares of all graphs that are there, connected, accepted, unique and novel."""
    known = Known(training)
    there = np.array([graph is not None for graph in graphs], bool)
    connected = np.array([graph is not None and nx.is_connected(graph) for graph in graphs], bool)
    fine = np.array([graph is not None and accepted(graph) for graph in graphs], bool)
    unique = fresh(graphs)
    found: dict[str, Any] = {"n": len(graphs), "valid": float(there.mean()), "connected": float(connected.mean())}
    if told:
        found["of_family"] = float(fine.mean())
    found["unique"] = float(unique.mean())
    if len(training):
        novel = np.array([graph is not None and graph not in known for graph in graphs], bool)
        found |= {"novel": float(novel.mean()), "vun": float((fine & unique & novel).mean())}
    return found


def compared(
    graphs: Sequence[nx.Graph], tested: dict[str, np.ndarray], trained: dict[str, np.ndarray] | None, kernel: str
) -> dict[str, float]:
    """Distances, ratios and the classifier's distance of graphs, from the descriptors of test and training graphs."""
    mine = rows_of(graphs[:MOST])
    far = distances(mine, tested, kernel)
    found = {f"mmd_{name}": value for name, value in far.items()}
    if trained is not None:
        base = distances(trained, tested, kernel)
        ratios = {name: far[name] / base[name] if base[name] > 1e-9 else math.nan for name in DESCRIPTORS}
        numbers = [value for value in ratios.values() if math.isfinite(value)]
        found |= {f"ratio_{name}": value for name, value in ratios.items()}
        found["ratio"] = float(np.mean(numbers)) if numbers else math.nan
    return found | {"polygraph": discrepancy(mine, tested)}


def evaluate_molecules(
    graphs: Sequence[nx.Graph | None],
    reference: Sequence[str] = (),
    training: Sequence[str] = (),
    fcd: bool = True,
) -> dict[str, Any]:
    """Judge graphs of atoms as molecules.

    Args:
        graphs: None = invalid.
        reference: canonical SMILES of test molecules; without any, the distance is left out.
        training: canonical SMILES that the prior was trained on; without any, novelty is.
        fcd: whether the Frechet ChemNet distance is computed.

    Returns:
        n; valid and valid_connected: shares of all graphs; unique: distinct ones over valid ones, which falls as n
        grows; novel: not in training, over distinct ones; fcd, fcd_floor: see `molecules.metrics.evaluate`; mean_nodes.
    """
    from guidekit.domains.molecules.fcd import fcd_entries

    check_sets("graphs", graphs)
    texts = [None if graph is None else smiles_of(graph) for graph in graphs]
    valid = [text for text in texts if text is not None]
    distinct = set(valid)
    found: dict[str, Any] = {
        "n": len(graphs),
        "valid": len(valid) / len(graphs),
        "valid_connected": sum("." not in text for text in valid) / len(graphs),
        "unique": len(distinct) / len(valid) if valid else math.nan,
    }
    if len(training):
        known = set(training)
        found["novel"] = sum(text not in known for text in distinct) / len(distinct) if distinct else math.nan
    there = [graph.number_of_nodes() for graph in graphs if graph is not None]
    found["mean_nodes"] = float(np.mean(there)) if there else math.nan
    notes: list[str] = []
    if fcd and len(reference) and valid:
        found |= fcd_entries(valid, list(reference), training or None, notes)
    return {**found, "note": "; ".join(notes)} if notes else found
