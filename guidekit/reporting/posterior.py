"""A picture of what a measurement tells: truth, measurement, mean, standard deviation and error, an object a row."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from guidekit.io.files import write_atomic
from guidekit.reporting.panels import DPI, FAINT, INK, LITERAL

MOST_ROWS = 6
SIDE = 1.5
"""Inches of a picture."""
MEASURED = "measurement"
"""Column that has a scale of its own."""
SPREADS = ("standard deviation", "error of the mean")
"""Columns that start at 0 and have a scale of their own."""


def picture(
    columns: Mapping[str, Tensor],
    path: Path,
    ends: tuple[float | None, float | None] = (None, None),
    unit: str = "",
    upward: bool = False,
) -> str | None:
    """Draw columns (n, *any) side by side, the first objects below each other.

    Args:
        columns: by title; of volumes the middle slice is shown, of several channels the first unless they are colors.
        path: PNG to write.
        ends: of the scale of colors; numbers are shown from the least to the largest of the truth, or of the mean.
        unit: of the values.
        upward: row 0 is at the bottom.

    Returns:
        The file name; None where matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return None
    rows = min(MOST_ROWS, *(len(column) for column in columns.values()))
    first = next(iter(columns.values())) if "truth" in columns else columns["mean"]
    flat = flattened(first[0])
    size = SIDE if flat.ndim > 1 else 2 * SIDE
    with rc_context({**LITERAL, "font.family": "DejaVu Sans", "font.size": 7, "text.color": INK}):
        inches = (size * len(columns) + 0.6, (SIDE + 0.1) * rows + 0.35)
        figure = Figure(figsize=inches, dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, len(columns), squeeze=False)
        for row in range(rows):
            known = first[row].double()
            low, high = float(known.min()), float(known.max())
            if flat.ndim == 3 and ends[0] is not None and ends[1] is not None:  # colors as they are
                low, high = float(ends[0]), float(ends[1])
            for place, (title, column) in enumerate(columns.items()):
                _panel(axes[row][place], flattened(column[row]), title, (low, high), unit, upward)
                if row == 0:
                    axes[0][place].set_title(title, fontsize=8, loc="left")
        stream = io.BytesIO()
        figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.08)
    write_atomic(path, stream.getvalue())
    return path.name


def flattened(value: Tensor) -> np.ndarray:
    """One object as (H, W), (H, W, 3) or (T,)."""
    array = value.detach().double().cpu().numpy()
    while array.ndim > 3:
        array = array[0] if array.shape[0] <= 3 else array[array.shape[0] // 2]
    if array.ndim == 3 and array.shape[0] == 3:
        return array.transpose(1, 2, 0)
    if array.ndim == 3:
        return array[0] if array.shape[0] <= 3 else array[array.shape[0] // 2]
    return array[0] if array.ndim == 2 and array.shape[0] <= 3 else array


def _panel(axes: Any, array: np.ndarray, title: str, ends: tuple[float, float], unit: str, upward: bool) -> None:
    apart = title in SPREADS
    if array.ndim == 1:
        axes.plot(array, color=INK, linewidth=0.6)
        axes.set_ylim(None if apart else ends[0], None if apart else ends[1]) if title != MEASURED else None
        axes.tick_params(labelsize=5, colors=FAINT)
        return
    if array.ndim == 3 and apart:
        array = array.mean(2)
    if array.ndim == 3:
        low, high = ends
        axes.imshow(np.clip((array - low) / ((high - low) or 1.0), 0, 1), interpolation="nearest")
    else:
        own, least, most = title == MEASURED, float(array.min()), float(array.max())
        shades: dict[str, Any] = {"cmap": "magma", "vmin": 0} if apart else {"cmap": "gray"}
        if own:
            half = 0.0 if least < most else max(1.0, 0.01 * abs(least))  # one number is gray: black looks like nothing
            ends = (least - half, most + half)
        if not apart:
            shades |= {"vmin": ends[0], "vmax": ends[1]}
        shown = axes.imshow(array, interpolation="nearest", origin="lower" if upward else "upper", **shades)
        if apart or own:
            bar = axes.figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.02)
            bar.ax.tick_params(labelsize=5, colors=FAINT)
            bar.ax.set_title("" if own else unit, fontsize=5, color=FAINT)  # a measurement may be in another unit
    axes.set_axis_off()
