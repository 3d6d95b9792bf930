"""Graphs drawn side by side."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import networkx as nx
import numpy as np

from guidekit.io.files import write_atomic
from guidekit.reporting.panels import DPI, FAINT, INK, LITERAL

COLORS = ("#2f6fb3", "#c0392b", "#2e8b57", "#8e5ea2", "#d98c21", "#5d6d7e", "#1abc9c", "#a04000")
"""Of the types of nodes, in the order of the alphabet."""
MOST, COLUMNS = 12, 4
"""Graphs of a panel, and those beside each other."""


def draw(panels: Sequence[tuple[str, Sequence[nx.Graph], Sequence[str]]], path: Path) -> None:
    """Draw graphs as balls and sticks, one panel a group.

    Args:
        panels: title, graphs, and a caption of each.
        path: png file to write.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(math.ceil(min(len(graphs), MOST) / COLUMNS) for _, graphs, _ in panels)
    with rc_context({**LITERAL, "font.family": "DejaVu Sans", "font.size": 7, "text.color": INK}):
        figure = Figure(
            figsize=(5.2 * len(panels), 1.3 * max(rows, 1) + 0.4), dpi=DPI, facecolor="white", layout="constrained"
        )
        FigureCanvasAgg(figure)
        for part, (title, graphs, captions) in zip(
            figure.subfigures(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            part.suptitle(title, fontsize=9, x=0.02, ha="left")
            axes = part.subplots(max(rows, 1), COLUMNS, squeeze=False).ravel()
            for one in axes:
                one.axis("off")
            for one, graph, caption in zip(axes, graphs, captions, strict=False):
                _draw(one, graph)
                one.set_title(caption, fontsize=6.5, color=FAINT, pad=2)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.06)
    write_atomic(path, stream.getvalue())


def layout(graph: nx.Graph) -> np.ndarray:
    """Places (n, 2) of nodes whose distances follow those along edges, components beside each other."""
    parts, left = [sorted(part) for part in nx.connected_components(graph)], 0.0
    places = np.zeros((graph.number_of_nodes(), 2))
    for part in sorted(parts, key=len, reverse=True):
        inner = graph.subgraph(part)
        found = nx.kamada_kawai_layout(inner) if len(part) <= 40 else nx.spring_layout(inner, seed=0)
        at = np.array([found[node] for node in part]) * math.sqrt(len(part))
        at[:, 0] += left - at[:, 0].min()
        places[part] = at
        left = at[:, 0].max() + 0.8
    return places


def _draw(axes, graph: nx.Graph) -> None:  # type: ignore[no-untyped-def]
    """One graph on axes; double and triple edges are wider."""
    from matplotlib.collections import LineCollection

    places, kinds = layout(graph), sorted({str(kind) for _, kind in graph.nodes(data="type") if kind is not None})
    widths = {"double": 1.8, "triple": 2.8}
    lines = [(places[a], places[b]) for a, b in graph.edges]
    wide = [widths.get(str(kind), 0.8) for *_, kind in graph.edges(data="type")]
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=wide, alpha=0.6))
    colors = [
        COLORS[kinds.index(str(kind)) % len(COLORS)] if kind is not None else COLORS[0]
        for _, kind in graph.nodes(data="type")
    ]
    axes.scatter(*places.T, s=max(2.0, 90 / max(1, len(graph)) ** 0.6), c=colors, zorder=2, linewidths=0)
    axes.set_aspect("equal")
    axes.margins(0.12)
