"""Pictures of sets of images: grids side by side, each image with its reward."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from guidekit.files import write_atomic

INK, FAINT = "#2b2b2b", "#777777"
DPI = 150
CELL = 0.78  # inches an image


class Panel(NamedTuple):
    """A grid of a figure: a title, images (H, W) or (H, W, 3) uint8, and a number below each, NaN for none."""

    title: str
    images: Sequence[np.ndarray]
    values: Sequence[float]


def best(title: str, images: Sequence[np.ndarray | None], values: Sequence[float], label: str, most: int) -> Panel:
    """The best `most` distinct valid images as a panel, whose title tells how many there were and their mean reward."""
    found: dict[bytes, tuple[float, np.ndarray]] = {}
    for image, value in zip(images, values, strict=True):
        if image is not None:
            found.setdefault(image.tobytes(), (value, image))
    chosen = sorted(found.values(), key=lambda pair: -math.inf if math.isnan(pair[0]) else pair[0], reverse=True)
    scored = [value for value, _ in chosen if math.isfinite(value)]
    if scored:
        shown = min(most, len(chosen))
        title += f": best {shown} of {len(values)} by {label}, mean {statistics.fmean(scored):.3g}"
    return Panel(title, [image for _, image in chosen[:most]], [value for value, _ in chosen[:most]])


def grids(panels: Sequence[Panel], path: str | Path, columns: int = 6) -> bytes:
    """Draw grids side by side and write a PNG.

    Args:
        panels: at least one, with at least one image each.
        path: file to write, replaced in one step.
        columns: images in a row of a grid.

    Returns:
        The picture as PNG bytes.

    Raises:
        ValueError: no panel, or one without images.
    """
    if not panels or not all(len(panel.images) for panel in panels):
        raise ValueError("there are no images to draw; pass at least one a panel")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, max(len(panel.images) for panel in panels))
    rows = max(-(-len(panel.images) // columns) for panel in panels)
    captioned = any(math.isfinite(value) for panel in panels for value in panel.values)
    step = 1.22 if captioned else 1.04
    size = (max(2.4, CELL * columns) * len(panels) + 0.3, CELL * step * rows + 0.45)
    with rc_context({"font.family": "DejaVu Sans", "font.size": 8, "text.color": INK}):
        figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _grid(axes, panel, columns, rows, step)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.08)
    write_atomic(path, stream.getvalue())
    return stream.getvalue()


def _grid(axes: Any, panel: Panel, columns: int, rows: int, step: float) -> None:
    """One panel: image i in row i // columns."""
    for i, (image, value) in enumerate(zip(panel.images, panel.values, strict=True)):
        left, top = i % columns * 1.04, i // columns * step
        options = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.ndim == 2 else {}
        axes.imshow(image, extent=(left, left + 1, top + 1, top), interpolation="nearest", **options)
        if math.isfinite(value):
            axes.text(left + 0.5, top + 1.02, f"{value:.3g}", ha="center", va="top", fontsize=7, color=FAINT)
    axes.set(xlim=(0, columns * 1.04 - 0.04), ylim=(rows * step, 0), aspect="equal")
    axes.set_axis_off()
    axes.set_title(panel.title, fontsize=9, loc="left")
