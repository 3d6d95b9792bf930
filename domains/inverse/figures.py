"""Pictures of fields: one scale of colors for all, with a bar that tells the unit."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.io.files import write_atomic
from guidekit.reporting.panels import DPI, INK, LITERAL, Panel, best

from .data import Kind


def titled(title: str, found: Sequence[tuple[float, np.ndarray]], count: int, label: str, most: int) -> Panel:
    """Fields with their rewards as a panel; see `panels.best`."""
    return best(title, found, count, label, most, np.asarray)


def draw(panels: Sequence[Panel], kind: Kind, path: str | Path, columns: int = 4) -> None:
    """Draw panels of fields side by side in the colors of their kind, and write a PNG.

    Args:
        panels: those without pictures are left out.
        kind: of the fields.
        path: file to write, replaced in one step.
        columns: most fields in a row of a panel.

    Raises:
        ValueError: no panel has a picture.
    """
    panels = [panel for panel in panels if len(panel.pictures)]
    if not panels:
        raise ValueError("there are no fields to draw; pass at least one")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    most = max(len(panel.pictures) for panel in panels)
    columns = min(columns, most)
    rows = -(-most // columns)
    size = (len(panels) * max(2.4, 1.15 * columns) + 0.9, 1.3 * rows + 0.5)
    with rc_context({**LITERAL, "font.family": "DejaVu Sans", "font.size": 8, "text.color": INK}):
        figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        made: Any = figure.subfigures(1, len(panels), wspace=0.03)
        parts = np.atleast_1d(made)
        shown, every = None, []
        for part, panel in zip(parts, panels, strict=True):
            part.suptitle(panel.title, fontsize=8)
            grid = part.subplots(rows, columns, squeeze=False)
            for axes in grid.flat:
                axes.axis("off")
            for axes, picture, value in zip(grid.flat, panel.pictures, panel.values, strict=False):
                shown = axes.imshow(picture, cmap=kind.colors, vmin=kind.limits[0], vmax=kind.limits[1])
                if math.isfinite(value):
                    axes.set_title(f"{value:.3g}", fontsize=7, pad=2)
            every += list(grid[:, -1])
        parts[-1].colorbar(shown, ax=every[-rows:], label=f"{kind.quantity}, {kind.unit}", shrink=0.8)
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
    write_atomic(path, stream.getvalue())
