"""Pictures of sounds and pieces: spectrograms and piano rolls side by side, each with its reward."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from guidekit.files import write_atomic

INK, FAINT = "#2b2b2b", "#777777"
DPI = 150
CELL = (1.25, 1.0)  # inches a picture


class Panel(NamedTuple):
    """Part of a figure: title, pictures (H, W) in [0, 1] or colours (H, W, 3), a number below each, NaN for none."""

    title: str
    pictures: Sequence[np.ndarray]
    values: Sequence[float]


def sheet(panels: Sequence[Panel], path: str | Path, across: str, upward: str, columns: int = 4) -> bytes:
    """Draw panels side by side and write a PNG.

    Args:
        panels: at least one, with at least one picture each.
        path: file to write, replaced in one step.
        across, upward: what the two directions of a picture are, written below.
        columns: pictures in a row of a panel.

    Returns:
        The picture as PNG bytes.

    Raises:
        ValueError: no panel, or one without pictures.
    """
    if not panels or not all(len(panel.pictures) for panel in panels):
        raise ValueError("there are no pictures to draw; pass at least one a panel")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, max(len(panel.pictures) for panel in panels))
    rows = max(-(-len(panel.pictures) // columns) for panel in panels)
    wide = max(3.4, CELL[0] * columns)
    with rc_context({"font.family": "DejaVu Sans", "font.size": 8, "text.color": INK}):
        size = (wide * len(panels) + 0.2, CELL[1] * rows + 0.6)
        figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _grid(axes, panel, columns, rows)
        figure.supxlabel(f"each: {across}; upward: {upward}", fontsize=7, color=FAINT)
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
    write_atomic(path, stream.getvalue())
    return stream.getvalue()


def _grid(axes: Any, panel: Panel, columns: int, rows: int) -> None:
    """One panel: picture i in row i // columns."""
    for i, (picture, value) in enumerate(zip(panel.pictures, panel.values, strict=True)):
        left, top = i % columns * 1.06, i // columns * 1.22
        options = {"cmap": "magma", "vmin": 0, "vmax": 1} if picture.ndim == 2 else {}
        axes.imshow(picture, extent=(left, left + 1, top + 1, top), origin="lower", interpolation="nearest", **options)
        if math.isfinite(value):
            axes.text(left + 0.5, top + 1.02, f"{value:.3g}", ha="center", va="top", fontsize=7, color=FAINT)
    axes.set(xlim=(0, columns * 1.06 - 0.06), ylim=(rows * 1.22, 0), aspect="auto")
    axes.set_axis_off()
    axes.set_title(panel.title, fontsize=9, loc="left")
