"""What is measured of graphs of a set, for the claims of several sets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import networkx as nx

import guidekit as gk

SAMPLES = 128


def drawn(
    kind: str, prior: str, samplers: Mapping[str, Any], seed: int, steps: int, count: int = SAMPLES
) -> dict[str, float]:
    """Figures of graphs by sampler: shares that are valid, unique and novel, planar, without a cycle; seconds of a run.

    Args:
        kind: set of graphs.
        prior: shipped, by name.
        samplers: by the names that figures begin with.
        seed: of the samples.
        steps: most network calls.
        count: graphs of each.
    """
    domain: Any = gk.load_domain("graphs", kind=kind)
    made = domain.load_prior(prior)
    found = {}
    for name, sampler in samplers.items():
        begun = time.process_time()
        graphs = gk.sample(made, None, count, steps, seed, sampler=sampler).objects()
        found[f"{name}: seconds of the processor"] = time.process_time() - begun
        figures = domain.evaluate(graphs, exact=False)
        found[f"{name}: valid, unique and novel"] = float(figures["vun"])
        found[f"{name}: mean ratio of distances"] = float(figures["ratio"])
        for what, holds in (("planar", planar), ("without a cycle", nx.is_forest)):
            found[f"{name}: {what}"] = sum(graph is not None and holds(graph) for graph in graphs) / count
    return found


def planar(graph: nx.Graph) -> bool:
    """Whether it can be drawn without crossings."""
    return bool(nx.check_planarity(graph)[0])


__all__ = ["SAMPLES", "drawn", "planar"]
