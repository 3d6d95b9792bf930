"""Training data of audio priors: pictures and rolls as bytes, labels, and the description of the future checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import codec, data, files, mel, rolls
from .files import fit, read
from .midi import read as read_pieces

BLOCK = 512  # clips a spectrogram call


NETWORKS = {"mel": ("unet", "image_transformer"), "waveform": ("waveform_unet",)}
"""Networks for the two kinds of states."""


def prepare_sounds(path: Path, source: str | None, trainer: Mapping[str, Any], kind: str = "mel") -> None:
    """Write sounds as `guidekit.training.array_job` reads them, with class numbers.

    Log-mel pictures are images (n, 64, 64) uint8, waveforms images (n, 16384) int16.

    Of every training sound there are `trainer.variants` versions: played 1.5 semitones slower to 1.5 faster, its peak
    between -14 and 0 dB re full scale, up to 40 ms later (seed 0). Sounds that are held out come once, at -1 dB.

    Args:
        path: npz file to write.
        source: what `files.read` accepts; None is the shipped training part.
        trainer: settings of configs/trainer/audio.yaml: `variants`, and `validation` sounds to hold out.
        kind: of states, a key of `codec.STATES`.

    Raises:
        ValueError: unreadable data, fewer than five times as many sounds as are to be held out, or a network for the
            other kind of states.
    """
    network, other = trainer["network"]["name"], {"mel": "waveform", "waveform": "mel"}[kind]
    if network not in NETWORKS[kind]:
        choices = {"mel": "trainer=audio", "waveform": "trainer=waveforms"}
        raise ValueError(
            f"network {network} is for domain.state={other}; with domain.state={kind} take {choices[kind]}, or "
            f"trainer.network.name={NETWORKS[kind][0]}"
        )
    labels: np.ndarray | None
    classes: tuple[str, ...]
    if source is None:
        shipped = data.clips("train")
        waves, labels, classes = [wave / np.float32(32768) for wave in shipped.waves], shipped.labels, data.CLASSES
        title, dataset = "drum and other one-shots (CC0, CC-BY: Emanuel Rumpf)", "one_shots"
    else:
        found = read(source)
        waves, labels, classes = [sound.wave for sound in found.sounds], found.labels, found.classes
        title = dataset = Path(source).name
    train, held = divided(len(waves), trainer["validation"], 5, "sounds")
    rng = np.random.default_rng(0)
    made = [variant(waves[i], rng) for i in train for _ in range(trainer["variants"])]
    drawn = pictures if kind == "mel" else integers
    arrays = {
        "images": drawn(made),
        "val_images": drawn([scaled(waves[i], -1.0) for i in held]),
        "labels": None if labels is None else np.repeat(labels[train], trainer["variants"]),
        "val_labels": None if labels is None else labels[held],
    }
    card = {"data": f"{title}, {len(train)} sounds in {trainer['variants']} versions each", "rate": mel.RATE}
    _write(path, "audio", list(codec.STATES[kind]), arrays, classes if labels is not None else (), dataset, card)


def prepare_chorales(path: Path, source: str | None, trainer: Mapping[str, Any]) -> None:
    """Write piano rolls as `guidekit.training.array_job` reads them: images (n, 64, 56, 2) uint8, 0 or 255, modes.

    Excerpts of 64 sixteenths begin every 16; pieces are held out as a whole, until their excerpts suffice.

    Args:
        path: npz file to write.
        source: what `midi.read` accepts; its pieces are brought to C major or A minor. None is the shipped part.
        trainer: settings of configs/trainer/chorales.yaml: `transpose` semitones up and down by which training pieces
            are moved as well, as far as they fit, and `validation` excerpts to hold out.

    Raises:
        ValueError: unreadable data, or fewer than five times as many pieces as are held out.
    """
    if source is None:
        pieces, labels, _ = data.chorales("train")
        title, dataset = "Bach chorales in C major and A minor", "chorales"
    else:
        found = [rolls.transposed(notes, rolls.to_c(notes)) for notes in read_pieces(source, whole=True).pieces]
        pieces, labels = found, np.array([data.MODES.index(rolls.key(notes)[1]) for notes in found])
        title = dataset = Path(source).name
    parts = [rolls.excerpts(notes) for notes in pieces]
    mean = sum(map(len, parts)) / max(1, len(parts))
    train, held = divided(len(pieces), max(1, round(trainer["validation"] / mean)), 5, "pieces")
    most = trainer["transpose"]
    training = [(one, labels[i]) for i in train for part in parts[i] for one in shifted(part, most)]
    validation = [(one, labels[i]) for i in held for part in parts[i] for one in shifted(part, 0)]
    if not training or not validation:
        raise ValueError(f"{title}: no excerpt fits pitches {rolls.LOWEST} to {rolls.LOWEST + rolls.PITCHES - 1}")
    arrays: dict[str, np.ndarray | None] = {}
    for name, chosen in (("", training), ("val_", validation)):
        arrays[f"{name}images"] = as_bytes(rolls.encode([notes for notes, _ in chosen]))
        arrays[f"{name}labels"] = np.array([label for _, label in chosen])
    keys = f", moved by up to {most} semitones" if most else ""
    card = {"data": f"{title}, {len(training):,} excerpts of {len(train)} pieces{keys}"}
    _write(path, "chorales", list(rolls.SHAPE), arrays, data.MODES, dataset, card)


def divided(count: int, held: int, least: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, in random order (seed 0).

    Raises:
        ValueError: fewer rows than `least` times those held out.
    """
    if count < least * held:
        raise ValueError(
            f"{count} {what} are too few to hold out {held} of them (trainer.validation); {least * held} are needed"
        )
    order = np.random.default_rng(0).permutation(count)
    return order[: count - held], order[count - held :]


def scaled(wave: np.ndarray, decibels: float) -> np.ndarray:
    """A wave whose largest sample is at so many dB re full scale."""
    return (wave * (10 ** (decibels / 20) / np.abs(wave).max())).astype(np.float32)


def variant(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random version of a sound at 16 kHz, see `prepare_sounds`."""
    speed = 2 ** (rng.uniform(-1.5, 1.5) / 12)
    places = np.arange(0, len(wave) - 1, speed) if len(wave) > 1 else np.zeros(1)
    played = np.interp(places, np.arange(len(wave)), wave)
    late = np.zeros(int(rng.uniform(0, 0.04) * mel.RATE))
    return fit(np.concatenate([late, scaled(played, rng.uniform(-14.0, 0.0))]).astype(np.float32))


def pictures(waves: Sequence[np.ndarray]) -> np.ndarray:
    """Log-mel pictures (n, 64, 64) uint8 of waves of at most 16,384 samples."""
    blocks = [waves[i : i + BLOCK] for i in range(0, len(waves), BLOCK)]
    return np.concatenate([as_bytes(codec.encode([fit(wave) for wave in block]))[..., 0] for block in blocks])


def integers(waves: Sequence[np.ndarray]) -> np.ndarray:
    """Waveforms (n, 16384) int16 of waves of at most 16,384 samples, with silence behind."""
    return np.stack([files.integers(np.pad(fit(wave), (0, mel.SAMPLES - len(fit(wave))))) for wave in waves])


def as_bytes(states: Tensor) -> np.ndarray:
    """States (n, C, H, W) in [-1, 1] as (n, H, W, C) uint8."""
    return ((states.permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


def shifted(notes: np.ndarray, most: int) -> list[np.ndarray]:
    """Notes moved by -most to most semitones, those that fit a roll."""
    moved = [rolls.transposed(notes, shift) for shift in range(-most, most + 1)]
    top = rolls.LOWEST + rolls.PITCHES
    return [one for one in moved if one[:, 2].min() >= rolls.LOWEST and one[:, 2].max() < top]


def _write(
    path: Path,
    domain: str,
    shape: list[int],
    arrays: dict[str, np.ndarray | None],
    classes: Sequence[str],
    dataset: str,
    card: dict[str, Any],
) -> None:
    """The npz, in one step."""
    description: dict[str, Any] = {"domain": domain, "event_shape": shape, "dataset": dataset, "card": card}
    kept: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
    if classes:
        description["labels"] = [{"name": "class", "values": list(classes)}]
        kept |= {name: kept[name][:, None].astype(np.int16) for name in ("labels", "val_labels")}
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, description=np.array(json.dumps(description)), **kept)
    os.replace(part, path)
