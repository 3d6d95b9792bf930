"""Pictures of sequences: the best ones as coloured strips with motif sites, and how the set compares with real ones."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.io.files import write_atomic
from guidekit.reporting.panels import LITERAL

from .alphabet import DNA, Alphabet
from .kmers import kmer_frequencies, pearson
from .logo import draw_logo, site_counts
from .motifs import Motif, find_hits, rarest

COLOURS = {"A": "#3f9b6c", "C": "#3b76b8", "G": "#e8a33d", "T": "#c8504f"}
CLASSES = {
    "KRH": ("#3b76b8", "basic"),
    "DE": ("#c8504f", "acidic"),
    "STNQ": ("#3f9b6c", "polar"),
    "FWY": ("#8064a2", "aromatic"),
    "AVILM": ("#d9c27a", "aliphatic"),
    "CGP": ("#9a9a9a", "C, G, P"),
}
DARKER = {"A": "#25724a", "C": "#245a95", "G": "#b36f06", "T": "#a83332"}
TITLES = {"gc": "GC content", "charge": "net charge at pH 7"}
LEAST_LETTER, MOST_LETTER = 4.0, 15.0  # points; smaller letters cannot be read, larger ones leave their box
INK, SAMPLES, REFERENCE = "#2b2b2b", "#c8504f", "#8c96a3"
DPI = 150


def sheet(
    sequences: Sequence[str],
    values: Sequence[float],
    label: str,
    path: str | Path,
    everything: Sequence[str],
    reference: Sequence[str],
    measure: tuple[str, Callable[[str], float]],
    motifs: Sequence[Motif] = (),
    alphabet: Alphabet = DNA,
) -> bytes:
    """Draw strips of sequences, and below them all samples against real sequences; writes a PNG.

    Args:
        sequences: what is drawn as strips, best first; at most about 16.
        values: a number of each, NaN for none.
        label: what the numbers are.
        path: file to write, replaced in one step.
        everything: all valid samples.
        reference: real sequences.
        measure: name and function of a number of a sequence, for the histogram.
        motifs: their sites (p < 1e-4; more for short motifs) are boxed, and those of the first one are drawn as a logo
            beside JASPAR's.

    Returns:
        The picture as PNG bytes.

    Raises:
        ValueError: no sequence.
    """
    if not len(sequences):
        raise ValueError("there are no sequences to draw; pass at least one")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {
        **LITERAL,
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.edgecolor": "#888888",
        "axes.labelcolor": INK,
    }
    with rc_context(style | {"text.color": INK, "xtick.color": INK, "ytick.color": INK}):
        top, bottom = 0.40 * len(sequences) + 0.9, 2.9
        figure = Figure(figsize=(13, top + bottom), dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        parts: Any = figure.subfigures(2, 1, height_ratios=(top, bottom), hspace=0.02)
        upper, lower = parts
        strips(upper.subplots(), sequences, values, label, motifs, alphabet)
        counts = [site_counts(motif, everything, rarest(motif)) for motif in motifs[:1]]
        panels = lower.subfigures(1, 3 if counts else 2, wspace=0.03, width_ratios=(1, 1, 1.15) if counts else (1, 1))
        histogram(panels[0].subplots(), everything, reference, *measure)
        scatter(panels[1].subplots(), everything, reference, alphabet)
        if counts:
            logos(panels[2], motifs[0], counts[0])
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
    write_atomic(path, stream.getvalue())
    return stream.getvalue()


def strips(
    axes: Any,
    sequences: Sequence[str],
    values: Sequence[float],
    label: str,
    motifs: Sequence[Motif],
    alphabet: Alphabet,
) -> None:
    """One row a sequence, letters as colours; sites of motifs are boxed and spelled, an arrow tells the strand."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    colours = COLOURS if alphabet is DNA else {c: colour for group, (colour, _) in CLASSES.items() for c in group}
    longest = max(map(len, sequences))
    for row, (text, value) in enumerate(zip(sequences, values, strict=True)):
        picture = np.array([[to_rgb(colours[letter]) for letter in text]])
        box = (0, len(text), row + 0.26, row - 0.26)
        axes.imshow(picture, extent=box, aspect="auto", interpolation="nearest", alpha=0.55 if motifs else 0.85)
        for motif in motifs:
            sites(axes, motif, text, row, size=min(MOST_LETTER, 11.9 * 72 / longest / 0.62))
        shown = "" if math.isnan(value) else f"{value:.3f}"
        axes.annotate(
            shown, (1.008, row), xycoords=("axes fraction", "data"), va="center", family="DejaVu Sans Mono", fontsize=9
        )
    axes.set(xlim=(0, longest), ylim=(len(sequences) - 0.4, -0.75), yticks=range(len(sequences)))
    axes.set_yticklabels([str(i + 1) for i in range(len(sequences))], color="#777777")
    axes.tick_params(length=0)
    axes.set_xlabel("position" if alphabet is not DNA else "position (bp)")
    axes.spines[:].set_visible(False)
    unscored = all(map(math.isnan, values))
    if label and not unscored:
        place = {"xycoords": ("axes fraction", "data"), "va": "center"}
        axes.annotate(label, (1.008, -0.62), fontweight="bold", **place)
    entries = COLOURS.items() if alphabet is DNA else [(name, colour) for colour, name in CLASSES.values()]
    handles = [Patch(color=colour, label=name) for name, colour in entries]
    if motifs:
        told = ", ".join(f"{motif.name}: p < {rarest(motif):g}" for motif in motifs)
        handles.append(Patch(fill=False, edgecolor=INK, label=told))
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=7, frameon=False, handlelength=1.1,
        borderaxespad=0.1, columnspacing=1.4,
    )  # fmt: skip
    axes.set_title(f"{len(sequences)} {'' if unscored else 'best '}samples", loc="right", fontsize=10)


def sites(axes: Any, motif: Motif, text: str, row: int, size: float) -> None:
    """Boxes around the sites of a motif in a strip; of overlapping sites the first is spelled in letters of `size`."""
    from matplotlib.patches import FancyBboxPatch

    if len(text) < len(motif):
        return
    found = find_hits(motif, DNA.encode([text]), rarest(motif))[0].nonzero().tolist()
    free = -1
    for strand, start in sorted(found, key=lambda hit: hit[1]):
        spelled = start >= free and size >= LEAST_LETTER
        shape = FancyBboxPatch(
            (start, row - 0.3), len(motif), 0.6, boxstyle="round,pad=0,rounding_size=0.2", mutation_aspect=0.3,
            facecolor="white" if spelled else "none", edgecolor=INK, linewidth=1.2, zorder=2 + spelled,
        )  # fmt: skip
        axes.add_patch(shape)
        end, arrow = (start + len(motif) + 0.4, "\u25b8") if strand == 0 else (start - 0.4, "\u25c2")
        side = "left" if strand == 0 else "right"
        axes.text(end, row - 0.02, arrow, ha=side, va="center", fontsize=9, color=INK, clip_on=True, zorder=4)
        if spelled:
            free = start + len(motif)
            for i in range(start, free):
                style = {"family": "DejaVu Sans Mono", "fontweight": "bold", "fontsize": size, "color": DARKER[text[i]]}
                axes.text(i + 0.5, row, text[i], ha="center", va="center", clip_on=True, zorder=5, **style)


def histogram(
    axes: Any, samples: Sequence[str], reference: Sequence[str], name: str, measure: Callable[[str], float]
) -> None:
    """Distribution of a number over samples and over real sequences, shares of each set."""
    both = [[measure(s) for s in samples], [measure(s) for s in reference]]
    together = np.concatenate(both)
    count = int(np.clip(2 * math.sqrt(len(samples)), 8, 25))
    low, high = np.quantile(together, [0.002, 0.998])
    bins = np.linspace(low - 1e-9, high + 1e-9, count + 1)
    for values, colour, title in zip(both, (SAMPLES, REFERENCE), ("samples", "real"), strict=True):
        weights = np.full(len(values), 1 / max(len(values), 1))
        axes.hist(np.clip(values, bins[0], bins[-1]), bins, weights=weights, color=colour, alpha=0.35)
        axes.hist(
            np.clip(values, bins[0], bins[-1]), bins, weights=weights, color=colour, histtype="step", lw=1.4,
            label=f"{title} ({len(values):,})",
        )  # fmt: skip
    axes.set(xlabel=TITLES.get(name, name.replace("_", " ")), ylabel="share of sequences")
    axes.legend(frameon=False, handlelength=1.2)
    axes.spines[["top", "right"]].set_visible(False)


def scatter(axes: Any, samples: Sequence[str], reference: Sequence[str], alphabet: Alphabet) -> None:
    """Frequencies of 3-mers (of single residues for proteins) in samples and in real sequences, percent."""
    k = 3 if alphabet is DNA else 1
    x, y = (100 * kmer_frequencies(s, k, alphabet) for s in (reference, samples))
    names = [alphabet.letters[i] for i in range(len(x))] if k == 1 else [word(i, k, alphabet) for i in range(len(x))]
    most = 1.08 * max(np.nanmax(x), np.nanmax(y, initial=0))
    axes.plot([0, most], [0, most], color="#bbbbbb", lw=1, zorder=0)
    special = np.array(["CG" in name for name in names])
    axes.scatter(x[~special], y[~special], s=18, color="#3b76b8", alpha=0.8, lw=0)
    if special.any():
        axes.scatter(x[special], y[special], s=22, color="#e8a33d", lw=0, label="with CG")
        axes.legend(frameon=False, loc="lower right", handletextpad=0.1)
    far = np.argsort(-np.abs(y - x))[: 5 if k == 3 else len(names)]
    for i in far:
        axes.annotate(names[i], (x[i], y[i]), xytext=(4, 3), textcoords="offset points", fontsize=7, color="#555555")
    axes.set(xlim=(0, most), ylim=(0, most), xlabel=f"{k}-mers in real sequences (%)", ylabel="in samples (%)")
    if k == 1:
        axes.set(xlabel="residues in real sequences (%)")
    axes.set_title(f"Pearson r = {pearson(x, y):.3f}", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def logos(panel: Any, motif: Motif, counts: np.ndarray) -> None:
    """Sequence logo of the sites found in the samples above that of JASPAR, bits."""
    above, below = panel.subplots(2, 1, sharex=True)
    draw_logo(above, counts, COLOURS)
    draw_logo(below, np.array(motif.counts), COLOURS)
    above.set_title(f"{motif.name}: {int(counts[0].sum()):,} sites in the samples (bits)", fontsize=9, loc="left")
    below.set_title(f"JASPAR {motif.matrix_id}", fontsize=9, loc="left")


def word(number: int, k: int, alphabet: Alphabet) -> str:
    """The k-mer of a number, see `kmers.kmer_codes`."""
    size = len(alphabet.letters)
    return "".join(alphabet.letters[number // size**i % size] for i in reversed(range(k)))
