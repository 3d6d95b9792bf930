"""Numbers that describe a set of generated sounds, each beside what real sounds get."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from guidekit.evaluation.checks import check_labels, check_sets
from guidekit.evaluation.frechet import frechet
from guidekit.evaluation.pairs import random_pairs

from . import mel, rewards
from .codec import AudioError, Sound, encode

PAIRS = 500  # random pairs for the diversity
SHIFTS = (-2, -1, 0, 1, 2)  # frames of 16 ms, when a sound is compared with those trained on


def evaluate(
    sounds: Sequence[Sound | None],
    reference: Sequence[Sound] | None = None,
    training: Sequence[Sound] | None = None,
    labels: Sequence[int] | None = None,
    training_labels: Sequence[int] | None = None,
    reference_labels: Sequence[int] | None = None,
) -> dict[str, float | int | str]:
    """Judge generated sounds; 50 against the shipped ones take some 10 s on one thread.

    Args:
        sounds: at 16 kHz, of at most 1.024 s; None counts as invalid.
        reference: real sounds to compare with, not those trained on; None leaves the comparisons out.
        training: sounds trained on.
        labels: class number wanted of each sound, -1 where none was.
        training_labels, reference_labels: class numbers of the others.

    Returns:
        n, n_valid, n_reference, n_training, validity, uniqueness: of samples; distinct waveforms / n_valid.
        centroid: mean spectral centroid, Hz; level: mean level, dB re a full-scale sine; duration: mean time until
            40 dB are lost, seconds; onsets: mean number; each with _sd and with _reference.
        frechet_logmel: Frechet distance (dB^2) of the mean and covariance of all frames above the floor, 64 log-mel
            numbers in dB each, without a projection, of samples and reference. This is no FAD: it knows no embedding.
            frechet_logmel_floor: the same of n_floor random training sounds (seed 0; as many as samples, or all).
        diversity: mean log-spectral distance (dB) of random pairs (at most 500, seed 0), with _reference.
        nearest_mean, nearest_least: log-spectral distance (dB) to the nearest training sound, over shifts of -2 to 2
            frames; nearest_reference: mean of the reference; copied: share of samples nearer than any of the reference.
        nearest_class: share of n_labelled samples whose nearest training sound has the wanted class;
            nearest_class_reference: the same of real sounds.
        note: what is to be read with care; only where there is something to say.

    Raises:
        ValueError: no sounds, an empty reference or training set, or labels that do not fit.
        AudioError: real sounds that are unusable.
    """
    check_sets("sounds", sounds, reference=reference, training_set=training)
    given = {"labels": (labels, sounds), "training_labels": (training_labels, training)}
    check_labels("sounds", {**given, "reference_labels": (reference_labels, reference)})
    kept = [i for i, sound in enumerate(sounds) if sound is not None]
    valid = [sound for sound in sounds if sound is not None]
    result: dict[str, float | int | str] = {"n": len(sounds), "n_valid": len(valid)}
    result["validity"] = len(valid) / len(sounds)
    result["uniqueness"] = len({sound.wave.tobytes() for sound in valid}) / len(valid) if valid else math.nan
    if not valid:
        return result
    states = encode(valid)
    real = None if reference is None else _real(reference, "reference")
    known = None if training is None else _real(training, "training set")
    for end, some, of in (("", valid, states), ("_reference", reference, real)):
        if some is not None and of is not None:
            for name, numbers in described(some, of).items():
                result[f"{name}{end}"], result[f"{name}_sd{end}"] = float(numbers.mean()), float(numbers.std())
    heights = mel.decibels(states)
    result["diversity"] = diversity(heights)
    if real is not None:
        true = mel.decibels(real)
        result |= {"n_reference": len(real), "diversity_reference": diversity(true)}
        result["frechet_logmel"] = frechet(frames(heights), frames(true))
        if known is not None:
            drawn = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))[: len(valid)]
            result["n_floor"] = len(drawn)
            result["frechet_logmel_floor"] = frechet(frames(mel.decibels(known[drawn])), frames(true))
            if len(drawn) < len(valid):
                result["note"] = f"the floor is of {len(drawn)} training sounds, the figure of {len(valid)} samples"
    if known is not None:
        result["n_training"] = len(known)
        learned = mel.decibels(known)
        distances, rows = nearest(heights, learned)
        result |= {"nearest_mean": float(distances.mean()), "nearest_least": float(distances.min())}
        wanted = None if labels is None else np.asarray(labels)[kept]
        result |= _hits("", rows, wanted, training_labels)
        if real is not None:
            usual, rows = nearest(true, learned)
            result |= _hits("_reference", rows, reference_labels, training_labels)
            result["nearest_reference"] = float(usual.mean())
            result["copied"] = float((distances < usual.min()).double().mean())
    return result


def _real(sounds: Sequence[Sound], what: str) -> Tensor:
    try:
        return encode(sounds)
    except AudioError as error:
        raise type(error)(f"{what}: {error}") from error


def _hits(
    end: str, rows: Tensor, wanted: Sequence[int] | np.ndarray | None, known: Sequence[int] | None
) -> dict[str, float]:
    """How many nearest training sounds have the class that was wanted."""
    if wanted is None or known is None:
        return {}
    wanted = np.asarray(wanted)
    asked = wanted >= 0
    if not asked.any():
        return {}
    hits = (np.asarray(known)[rows.numpy()] == wanted)[asked]
    counted = {} if end else {"n_labelled": int(asked.sum())}
    return {**counted, f"nearest_class{end}": float(hits.mean())}


def described(sounds: Sequence[Sound], states: Tensor) -> dict[str, np.ndarray]:
    """Numbers of every sound, for tables: centroid (Hz), level (dB re a full-scale sine), duration (s), onsets."""
    return {
        "centroid": rewards.centroids(mel.to_powers(states)).double().numpy(),
        "level": rewards.levels(states).double().numpy(),
        "duration": np.array([rewards.sounding(sound) for sound in sounds]),
        "onsets": np.array([len(rewards.onset_times(sound)) for sound in sounds], float),
    }


def frames(heights: Tensor) -> Tensor:
    """Frames (n, M) of log-mel pictures (B, M, F) in dB that hold something above the floor."""
    rows = heights.transpose(1, 2).flatten(0, 1)
    return rows[(rows > mel.FLOOR + 0.5).any(1)]


def log_spectral_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean over frames of the root-mean-square difference over bands, of pictures (..., M, F) in dB; in dB."""
    return (first - second).square().mean(-2).sqrt().mean(-1)


def diversity(heights: Tensor) -> float:
    """Mean log-spectral distance (dB) of random pairs of different pictures (B, M, F); NaN for one."""
    n = len(heights)
    if n < 2:
        return math.nan
    first, second = random_pairs(n, PAIRS)
    return float(log_spectral_distance(heights[first], heights[second]).double().mean())


def nearest(heights: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Log-spectral distance (B,) float64 in dB of pictures (B, M, F) to the nearest of others, and its row (B,)."""
    distances, rows = [], []
    for one in heights:
        moved = [_moved(one, shift) for shift in SHIFTS]
        found = torch.stack([log_spectral_distance(version, known) for version in moved]).amin(0)
        best = found.min(0)
        distances.append(best.values)
        rows.append(best.indices)
    return torch.stack(distances).double(), torch.stack(rows)


def _moved(picture: Tensor, frames: int) -> Tensor:
    """A picture (M, F) some frames later, silence at the end that becomes free."""
    moved = picture.roll(frames, -1)
    if frames > 0:
        moved[:, :frames] = mel.FLOOR
    elif frames < 0:
        moved[:, frames:] = mel.FLOOR
    return moved
