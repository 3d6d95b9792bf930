"""Shipped sounds and chorales, and how their files are made; see assets/DATA.md."""

from __future__ import annotations

import functools
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from guidekit.errors import UnknownNameError
from guidekit.io.files import write_packed
from guidekit.io.reading import packed

from . import mel, rolls

ASSETS = Path(__file__).parent / "assets"
CLASSES = ("bass_drum", "snare", "cymbal", "tom", "tabla", "percussion", "other")
"""Classes of the shipped sounds; percussion are those that their kit does not name, other is whatever is left."""
MODES = ("major", "minor")
RULES = (
    ("cymbal", r"cymbal|splash|crash|ride|\bhh\b|hi-hat"),
    ("snare", r"snare|\bsn_|clap|snap"),
    ("bass_drum", r"kick|bass drum|bd_|drum_bass"),
    ("tom", r"\btom|_tom"),
    ("tabla", r"^tabla"),
    ("percussion", r"percussion|cowbell|stick|perc_"),
)
"""The first that is found in "name class_name" is the class; beats_NN-NN are names without an instrument."""
SPLITS = ("train", "test")
FADE = 320  # samples, 20 ms, at the end of a clip that was cut


class Clips(NamedTuple):
    """Sounds as int16 waveforms at 16 kHz, their class numbers, and file names."""

    waves: list[np.ndarray]
    labels: np.ndarray
    names: list[str]


class Pieces(NamedTuple):
    """Chorales in C major or A minor as notes (n, 3), their modes (0 major, 1 minor), and catalogue numbers."""

    notes: list[np.ndarray]
    labels: np.ndarray
    names: list[str]


def part(names: list[str], labels: np.ndarray, split: str, share: int) -> list[int]:
    """Rows of a part: of every class, the one in `share` names with the least checksums is the test part.

    Raises:
        UnknownNameError: no such split.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", str(split), SPLITS)
    held: set[int] = set()
    for label in np.unique(labels):
        rows = sorted(np.flatnonzero(labels == label).tolist(), key=lambda row: zlib.crc32(names[row].encode()))
        held.update(rows[: len(rows) // share])
    return [row for row in range(len(names)) if (row in held) == (split == "test")]


@functools.lru_cache(maxsize=2)
def clips(split: str = "train") -> Clips:
    """Shipped sounds, 222 for training and 53 for testing.

    Raises:
        UnknownNameError: no such split.
        ValueError: the file is damaged.
    """
    file = packed(ASSETS / "one_shots.npz.xz")
    names, ends = _names(file), file["offsets"]
    keep = part(names, file["label"], split, 5)
    waves = [file["wave"][ends[i] : ends[i + 1]] for i in keep]
    return Clips(waves, file["label"][keep].astype(np.int64), [names[i] for i in keep])


@functools.lru_cache(maxsize=2)
def chorales(split: str = "train") -> Pieces:
    """Shipped chorales, whole, 326 for training and 35 for testing. Raises as `clips`."""
    file = packed(ASSETS / "chorales.npz.xz")
    names, ends = _names(file), file["offsets"]
    keep = part(names, file["minor"], split, 10)
    made = []
    for i in keep:
        rows = slice(ends[i], ends[i + 1])
        notes = rolls.from_voices(file["pitch"][rows], file["attack"][rows])
        made.append(rolls.merged(rolls.transposed(notes, int(file["transpose"][i]))))
    return Pieces(made, file["minor"][keep].astype(np.int64), [names[i] for i in keep])


def _names(file: dict[str, np.ndarray]) -> list[str]:
    return file["names"].tobytes().decode().split("\n")


def fitted(wave: np.ndarray, samples: int = mel.SAMPLES) -> np.ndarray:
    """A wave of int16 as float32 in [-1, 1), with silence behind it up to the length of a clip."""
    return np.pad(wave.astype(np.float32) / 32768, (0, samples - len(wave)))


def class_of(name: str, kind: str) -> int:
    """Number of the class of a sound by its file name and the name its kit gives it."""
    text = f"{Path(name).stem} {kind}".lower()
    found = next((label for label, pattern in RULES if re.search(pattern, text)), "other")
    return CLASSES.index(found)


def trimmed(wave: np.ndarray, samples: int = mel.SAMPLES) -> np.ndarray:
    """A clip from 2 ms before the first sample above 1 % of the peak, at most `samples` long, faded where it is cut.

    Args:
        wave: (T,) of any real type, not silent.
        samples: longest.
    """
    loud = np.flatnonzero(np.abs(wave.astype(np.float64)) >= 0.01 * np.abs(wave.astype(np.float64)).max())
    begin = max(0, int(loud[0]) - 32)
    cut = wave[begin : begin + samples]
    if len(wave) - begin > samples:
        fade = np.ones(samples)
        fade[-FADE:] = np.linspace(1, 0, FADE)
        cut = (cut * fade).round().astype(wave.dtype) if wave.dtype.kind == "i" else (cut * fade).astype(wave.dtype)
    return cut


def build_assets(source: str | Path, folder: str | Path = ASSETS) -> None:
    """Make the data files of the assets folder again from the sources named in DATA.md; takes about 10 s.

    Args:
        source: folder with audio/one_shots.npz (wave int16, offsets, name, class_name) and audio/bach_chorales.npz
            (pitch, attack, offsets, name, minor, transpose_to_c).
        folder: where to write.
    """
    source, folder = Path(source) / "audio", Path(folder)
    with np.load(source / "one_shots.npz") as file:
        wave, ends = file["wave"], file["offsets"]
        names, kinds = file["name"].tolist(), file["class_name"].tolist()
    cut = [trimmed(wave[ends[i] : ends[i + 1]]) for i in range(len(names))]
    _write(
        folder / "one_shots.npz.xz",
        names,
        wave=np.concatenate(cut),
        offsets=np.cumsum([0, *map(len, cut)]).astype(np.int32),
        label=np.array([class_of(*pair) for pair in zip(names, kinds, strict=True)], np.uint8),
    )
    with np.load(source / "bach_chorales.npz") as file:
        arrays = {key: file[key] for key in ("pitch", "attack", "minor")}
        arrays |= {"offsets": file["offsets"].astype(np.int32), "transpose": file["transpose_to_c"]}
        names = file["name"].tolist()
    _write(folder / "chorales.npz.xz", names, **arrays)


def _write(path: Path, names: list[str], **arrays: np.ndarray) -> None:
    write_packed(path, {"names": np.frombuffer("\n".join(names).encode(), np.uint8), **arrays})
