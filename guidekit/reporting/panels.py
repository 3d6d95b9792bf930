"""Pictures of sets of samples: grids side by side, each sample with its reward below."""

from __future__ import annotations

import dataclasses
import io
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from guidekit.io.files import write_atomic

INK, FAINT = "#2b2b2b", "#777777"
DPI = 150
LITERAL: Any = {"text.parse_math": False, "text.usetex": False}
"""Settings of matplotlib under which names from files are drawn as they are, dollar signs and all."""
GAP, CAPTION = 0.04, 0.22
"""Space between pictures, and for the number below one, as shares of a picture."""
NARROWEST = 3.4
"""Inches of a panel, so that its title fits."""


class Panel(NamedTuple):
    """A grid: its title, pictures (H, W) or colors (H, W, 3), and a number below each, NaN for none."""

    title: str
    pictures: Sequence[np.ndarray]
    values: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the samples of a domain are laid out.

    Args:
        columns: most pictures in a row of a panel.
        size: of a picture, inches, width and height.
        shades: options of matplotlib's imshow for pictures without colors.
        upward: row 0 of a picture is at the bottom.
        note: line below everything.
    """

    columns: int
    size: tuple[float, float]
    shades: Mapping[str, Any]
    upward: bool = False
    note: str = ""


def best(
    title: str,
    found: Sequence[tuple[float, Any]],
    count: int,
    label: str,
    most: int,
    picture: Callable[[Any], np.ndarray],
) -> Panel:
    """The best samples as a panel, whose title tells how many there were and the mean reward of the distinct ones.

    Args:
        title: what they are.
        found: (reward, sample) of the distinct valid ones, the best first (`summary.ranked`).
        count: how many samples there were.
        label: what the rewards are.
        most: pictures.
        picture: of a sample.
    """
    scored = [value for value, _ in found if math.isfinite(value)]
    if scored:
        title += f": best {min(most, len(found))} of {count} by {label}, mean {statistics.fmean(scored):.3g}"
    return Panel(title, [picture(one) for _, one in found[:most]], [value for value, _ in found[:most]])


def spread(title: str, things: Sequence[Any], most: int, picture: Callable[[Any], np.ndarray]) -> Panel:
    """At most so many of `things`, evenly spread over them, without numbers."""
    rows = np.linspace(0, len(things) - 1, min(most, len(things))).round().astype(int)
    return Panel(title, [picture(things[i]) for i in rows], [math.nan] * len(rows))


def draw(panels: Sequence[Panel], layout: Layout, path: str | Path) -> bytes:
    """Draw panels side by side, those without pictures left out, and write a PNG.

    Args:
        panels: at least one with a picture.
        layout: of the pictures.
        path: file to write, replaced in one step.

    Returns:
        The picture as PNG bytes.

    Raises:
        ValueError: no panel has a picture.
    """
    panels = [panel for panel in panels if len(panel.pictures)]
    if not panels:
        raise ValueError("there are no pictures to draw; pass at least one")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    most = max(len(panel.pictures) for panel in panels)
    columns = min(layout.columns, most)
    rows = -(-most // columns)
    captioned = any(math.isfinite(value) for panel in panels for value in panel.values)
    width, height = layout.size[0] * (1 + GAP), layout.size[1] * (1 + (CAPTION if captioned else GAP))
    size = (max(NARROWEST, columns * width) * len(panels) + 0.3, rows * height + (0.6 if layout.note else 0.45))
    with rc_context({**LITERAL, "font.family": "DejaVu Sans", "font.size": 8, "text.color": INK}):
        figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _fill(axes, panel, layout, columns, rows, (width, height))
        if layout.note:
            figure.supxlabel(layout.note, fontsize=7, color=FAINT)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.08)
    write_atomic(path, stream.getvalue())
    return stream.getvalue()


def _fill(axes: Any, panel: Panel, layout: Layout, columns: int, rows: int, pitch: tuple[float, float]) -> None:
    """One panel, in inches: picture i in row i // columns."""
    wide, high = layout.size
    for i, (picture, value) in enumerate(zip(panel.pictures, panel.values, strict=True)):
        left, top = i % columns * pitch[0], i // columns * pitch[1]
        shades = layout.shades if picture.ndim == 2 else {}
        extent, origin = (left, left + wide, top + high, top), "lower" if layout.upward else "upper"
        axes.imshow(picture, extent=extent, origin=origin, interpolation="nearest", **shades)
        if math.isfinite(value):
            middle, below = left + wide / 2, top + high * 1.02
            axes.text(middle, below, f"{value:.3g}", ha="center", va="top", fontsize=7, color=FAINT)
    axes.set(xlim=(0, columns * pitch[0] - GAP * wide), ylim=(rows * pitch[1], 0), aspect="equal", anchor="NW")
    axes.set_axis_off()
    axes.set_title(panel.title, fontsize=9, loc="left")
