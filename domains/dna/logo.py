"""Sequence logos: letters as high as the information they carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .alphabet import DNA
from .motifs import Motif, find_hits


def site_counts(motif: Motif, sequences: Sequence[str], p: float = 1e-4) -> np.ndarray:
    """Letters (L, 4) of all sites with p-value below p, those of the reverse strand turned round."""
    counts = np.zeros((len(motif), 4))
    for text in sequences:
        if len(text) < len(motif):
            continue
        for strand, start in find_hits(motif, DNA.encode([text]), p)[0].nonzero().tolist():
            site = text[start : start + len(motif)]
            oriented = DNA.reverse_complement(site) if strand else site
            counts[np.arange(len(motif)), [DNA.letters.index(letter) for letter in oriented]] += 1
    return counts


def information(counts: np.ndarray) -> np.ndarray:
    """Heights (L, 4) in bits: share p_a of a letter times 2 + sum_b p_b log2 p_b; 0 where there is no count.

    Source: Schneider & Stephens 1990, doi:10.1093/nar/18.20.6097, without small-sample correction.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1e-12)
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(1, keepdims=True)
    return shares * (2 - entropy) * (counts.sum(1, keepdims=True) > 0)


def draw_logo(axes: Any, counts: np.ndarray, colours: Mapping[str, str]) -> None:
    """Draw a logo of counts (L, 4) into axes, the most frequent letter on top."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    font = FontProperties(family="DejaVu Sans", weight="bold")
    for column, heights in enumerate(information(counts)):
        base = 0.0
        for i in np.argsort(heights):
            if heights[i] < 0.01:
                continue
            path = TextPath((0, 0), DNA.letters[i], size=1, prop=font)
            box = path.get_extents()
            fit = Affine2D().translate(-box.x0, -box.y0).scale(0.92 / box.width, heights[i] / box.height)
            shape = fit.translate(column + 0.54, base).transform_path(path)
            axes.add_patch(PathPatch(shape, color=colours[DNA.letters[i]], lw=0))
            base += heights[i]
    axes.set(xlim=(0.4, len(counts) + 0.6), ylim=(0, 2.05), yticks=(0, 1, 2))
    axes.set_xticks(range(1, len(counts) + 1, 1 if len(counts) <= 20 else 2))
    axes.tick_params(labelsize=7, length=2)
    axes.spines[["top", "right"]].set_visible(False)
