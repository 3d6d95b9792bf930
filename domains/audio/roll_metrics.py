"""Numbers that describe a set of generated pieces, each beside what real pieces get."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from guidekit.evaluation.checks import check_labels, check_sets

from . import rolls
from .data import MODES

LONGEST = 16  # sixteenths: longer notes and gaps are counted as these


def evaluate(
    pieces: Sequence[np.ndarray | None],
    reference: Sequence[np.ndarray] | None = None,
    training: Sequence[np.ndarray] | None = None,
    labels: Sequence[int] | None = None,
    reference_labels: Sequence[int] | None = None,
) -> dict[str, float | int | str]:
    """Judge generated pieces of 64 sixteenths; 100 against the shipped chorales take some 5 s on one thread.

    Args:
        pieces: notes (n, 3); None counts as invalid.
        reference: real pieces to compare with, not those trained on; None leaves the comparisons out.
        training: pieces trained on.
        labels: mode wanted of each piece, 0 major, 1 minor, -1 where none was.
        reference_labels: modes of the whole works that the reference is from.

    Returns:
        n, n_valid, n_reference, n_training, validity, uniqueness: of samples; distinct pieces / n_valid.
        notes, polyphony, pitch, length: means over pieces of the number of notes, of notes that sound at a step, of
            MIDI pitch, and of length in sixteenths; rests: share of steps at which nothing sounds.
        scale_consistency: mean over pieces of the greatest share of what sounds that one major scale has.
        in_c: share of what sounds that is in C major, as all shipped chorales are in it or in A minor.
        mode_agreement: share of the n_labelled pieces whose key (`rolls.key`) has the mode that was wanted;
            mode_agreement_reference: the same of real excerpts, which may be in another key than the whole work.
        pitch_class_kl: Kullback-Leibler divergence (nats) of the pitch classes of all samples from those of the
            reference; _floor of n_floor training pieces (seed 0; as many as samples, or all).
        length_overlap, gap_overlap: common area (0 to 1) of the histograms of lengths, and of times from one onset to
            the next of the piece, of samples and reference; with _floor.
        nearest_mean, nearest_least: 1 - |A and B| / |A or B| of the cells that sound, to the nearest training piece;
            nearest_reference: mean of the reference; copied: share of samples nearer than all but 1 % of the reference.
            A training excerpt begins every 16 steps: what is copied from between is further away.
        The first groups also with _reference. A figure that needs more pieces than there are is NaN.

    Raises:
        ValueError: no pieces, an empty reference or training set, or labels that do not fit.
        RollError: pieces that do not fit a roll.
    """
    check_sets("pieces", pieces, reference=reference, training_set=training)
    check_labels("pieces", {"labels": (labels, pieces), "reference_labels": (reference_labels, reference)})
    kept = [i for i, piece in enumerate(pieces) if piece is not None]
    valid = [rolls.check(pieces[i], f"piece {i}") for i in kept]
    result: dict[str, float | int | str] = {
        "n": len(pieces),
        "n_valid": len(valid),
        "validity": len(valid) / len(pieces),
    }
    result["uniqueness"] = len({piece.tobytes() for piece in valid}) / len(valid) if valid else math.nan
    if not valid:
        return result
    reference, training = _checked(reference, "reference"), _checked(training, "training piece")
    result |= described(valid)
    if labels is not None:
        wanted = np.asarray(labels)[kept]
        if (wanted >= 0).any():
            result["n_labelled"] = int((wanted >= 0).sum())
            result["mode_agreement"] = agreement(valid, wanted)
            if reference is not None and reference_labels is not None:
                result["mode_agreement_reference"] = agreement(reference, np.asarray(reference_labels))
    if reference is not None:
        result["n_reference"] = len(reference)
        result |= {f"{name}_reference": value for name, value in described(reference).items()}
        result |= compared(valid, reference)
        if training is not None:
            drawn = np.random.default_rng(0).permutation(len(training))[: len(valid)]
            result["n_floor"] = len(drawn)
            floor = compared([training[i] for i in drawn], reference)
            result |= {f"{name}_floor": value for name, value in floor.items()}
    if training is not None:
        known = cells(training)
        distances = nearest(cells(valid), known)
        result["n_training"] = len(training)
        result |= {"nearest_mean": float(distances.mean()), "nearest_least": float(distances.min())}
        if reference is not None:
            usual = nearest(cells(reference), known)
            result["nearest_reference"] = float(usual.mean())
            result["copied"] = float((distances < np.quantile(usual, 0.01)).mean())
    return result


def _checked(pieces: Sequence[np.ndarray] | None, what: str) -> list[np.ndarray] | None:
    return None if pieces is None else [rolls.check(piece, f"{what} {i}") for i, piece in enumerate(pieces)]


def agreement(pieces: Sequence[np.ndarray], wanted: np.ndarray) -> float:
    """Share of pieces with a wanted mode (0 or 1) whose key has it."""
    found = np.array([MODES.index(rolls.key(piece)[1]) for piece in pieces])
    return float((found == wanted)[wanted >= 0].mean())


def measured(notes: np.ndarray) -> dict[str, float]:
    """Numbers of a piece of 64 sixteenths or more, for tables; see `evaluate`."""
    classes, end = rolls.histogram(notes), int((notes[:, 0] + notes[:, 1]).max())
    steps, lasts = rolls.drawn(notes, end).any(0).sum(1), max(rolls.STEPS, end)
    total = classes.sum()
    return {
        "notes": float(len(notes)),
        "polyphony": float(steps.sum() / lasts),
        "pitch": float(np.average(notes[:, 2], weights=notes[:, 1])),
        "length": float(notes[:, 1].mean()),
        "rests": 1 - float((steps > 0).sum()) / lasts,
        "scale_consistency": float(max(classes[_scale(tonic)].sum() for tonic in range(12)) / total),
        "in_c": float(classes[_scale(0)].sum() / total),
    }


def _scale(tonic: int) -> list[int]:
    return [(tonic + step) % 12 for step in rolls.SCALES["major"]]


def described(pieces: Sequence[np.ndarray]) -> dict[str, float]:
    """Means over pieces of `measured`."""
    rows = [measured(piece) for piece in pieces]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def compared(pieces: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> dict[str, float]:
    """Divergence of pitch classes and overlap of lengths and gaps of two sets."""
    p, q = (np.sum([rolls.histogram(one) for one in some], 0) for some in (pieces, others))
    return {
        "pitch_class_kl": divergence(p, q),
        "length_overlap": overlap(_lengths(pieces), _lengths(others)),
        "gap_overlap": overlap(_gaps(pieces), _gaps(others)),
    }


def divergence(counts: np.ndarray, others: np.ndarray) -> float:
    """Kullback-Leibler divergence (nats) of the law of counts (K,) from others, each with 0.01 % of a flat one."""
    p, q = (0.9999 * c / c.sum() + 0.0001 / len(c) for c in (counts, others))
    return float((p * np.log(p / q)).sum())


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Common area of the histograms of two sets of whole numbers from 1, those above 16 taken as 16; NaN for none."""
    if not len(first) or not len(second):
        return math.nan
    laws = [np.bincount(np.minimum(some, LONGEST), minlength=LONGEST + 1) / len(some) for some in (first, second)]
    return float(np.minimum(*laws).sum())


def _lengths(pieces: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([piece[:, 1] for piece in pieces])


def _gaps(pieces: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.diff(np.unique(piece[:, 0])) for piece in pieces])


def cells(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """What sounds, (n, steps * pitches) float32 of 0 and 1."""
    return (rolls.encode(pieces) > 0).any(1).flatten(1).numpy().astype(np.float32)


def nearest(some: np.ndarray, known: np.ndarray) -> np.ndarray:
    """1 - |A and B| / |A or B| (n,) of each row of cells to the most similar of the known ones."""
    both = some @ known.T
    either = some.sum(1)[:, None] + known.sum(1) - both
    return 1 - (both / np.maximum(either, 1)).max(1).astype(np.float64)
