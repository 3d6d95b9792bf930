"""A picture of a particle filter: effective sample sizes, lineages that are left, and a genealogy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from guidekit.io.files import write_atomic
from guidekit.reporting.panels import DPI, FAINT, INK, LITERAL

MOST = 40
"""Groups that are drawn one by one."""
COLOR = "#2f6fb3"


def picture(
    ess: np.ndarray, survivors: np.ndarray, ancestors: np.ndarray, fired: np.ndarray | None, title: str, path: Path
) -> str | None:
    """Draw three panels.

    Args:
        ess: effective sample sizes (P, N) at N evaluations.
        survivors: particles of the start that have descendants, (P, N).
        ancestors: of particles within their group since the evaluation before, (P, N, K).
        fired: share of the groups that were resampled, (N - 1,), or None.
        title: of the picture.
        path: PNG to write.

    Returns:
        The file name; None where matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return None
    at, k = np.arange(1, ess.shape[1] + 1), ancestors.shape[2]
    with rc_context({**LITERAL, "font.family": "DejaVu Sans", "font.size": 8, "text.color": INK}):
        figure = Figure(figsize=(9.6, 2.8), dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        left, middle, right = figure.subplots(1, 3)
        for axes, values, name in ((left, ess, "effective sample size"), (middle, survivors, "lineages left")):
            axes.plot(at, values[:MOST].T, color=COLOR, lw=0.6, alpha=0.25)
            axes.plot(at, values.mean(0), color=INK, lw=1.5)
            axes.set_title(f"{name}, of {k}", fontsize=9, loc="left")
            axes.set(ylim=(0, k * 1.05), xlabel="evaluation")
        if fired is not None and len(fired):
            shares = left.twinx()
            shares.bar(at[: len(fired)], fired, color=FAINT, alpha=0.35, width=0.8)
            shares.set_ylabel("share of groups resampled (bars)", fontsize=6, color=FAINT)
            shares.set(ylim=(0, 1.05), yticks=[0, 0.5, 1])
            shares.tick_params(labelsize=6, colors=FAINT)
            shares.spines[["top", "right"]].set_visible(False)
            left.set_zorder(shares.get_zorder() + 1)
            left.patch.set_visible(False)  # lines are drawn over the bars
        for x, y in lines(ancestors[0]):
            right.plot(x, y, color=COLOR, lw=0.7, alpha=0.6)
        for x, y in lines(ancestors[0], living=True):
            right.plot(x, y, color=INK, lw=1.0)
        right.set_title("descent in group 1 (black: of the last)", fontsize=9, loc="left")
        right.set(xlabel="evaluation", yticks=[], ylim=(-1, k))
        for axes in (left, middle, right):
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
        stream = io.BytesIO()
        figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.08)
    write_atomic(path, stream.getvalue())
    return path.name


def lines(ancestors: np.ndarray, living: bool = False) -> list[tuple[list[int], list[int]]]:
    """Pieces ([n - 1, n], [ancestor, particle]) of the descent of particles (N, K), of all or of the last ones only."""
    count, k = ancestors.shape
    wanted, found = np.arange(k), []
    for number in range(count - 1, -1, -1):
        of = wanted if living else np.arange(k)
        found += [([number, number + 1], [int(ancestors[number, i]), int(i)]) for i in of]
        wanted = np.unique(ancestors[number, wanted])
    return found
