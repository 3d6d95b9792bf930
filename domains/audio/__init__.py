"""Sounds as log-mel pictures or waveforms, and Bach chorales as piano rolls: data, files, rewards, metrics, tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from guidekit.names import UnknownNameError

from . import codec, files, mel, metrics, midi, preparation, roll_metrics, rolls
from .codec import AudioError, SampleRateMismatch, Sound
from .data import ASSETS, CLASSES, MODES, chorales, clips, fitted
from .domain import SoundDomain
from .forbidden import ForbiddenPitches, forbidden_pitches
from .library import functional
from .rewards import REWARDS
from .roll_rewards import ROLL_REWARDS
from .rolls import RollError


class Audio(SoundDomain):
    """Sounds of up to 1.024 s at 16 kHz; objects are `Sound`.

    Args:
        state: "mel" for log-mel pictures (B, 1, 64, 64), as the priors have, or "waveform" for (B, 1, 16384); both in
            [-1, 1].

    Raises:
        UnknownNameError: another kind of state.
        MissingExtraError: a library of the extra is not installed.
    """

    name = "audio"
    objects = "sounds"
    suffix = ".wav"
    kinds = REWARDS
    settings = ("state",)
    libraries = ("soundfile", "matplotlib")
    default = "one_shots"
    axes = ("1.024 s", "20 Hz to 8 kHz (mel), -80 dB dark to 0 dB bright")

    def __init__(self, state: str = "mel") -> None:
        if state not in codec.STATES:
            raise UnknownNameError("kind of state", str(state), codec.STATES)
        super().__init__()
        functional()
        self.state, self.classes = state, CLASSES

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, 64, 64) or (1, 16384)."""
        return codec.STATES[self.state]

    def load_prior(self, name: str = "default") -> Any:
        """See `SoundDomain.load_prior`; priors are of log-mel pictures."""
        if self.state != "mel":
            raise AudioError(f"priors are of log-mel pictures, not of domain.state={self.state}; leave it out")
        prior = super().load_prior(name)
        if tuple(prior.event_shape) != self.shape:
            raise AudioError(f"prior {name} is of states {tuple(prior.event_shape)}; {self.shape} is expected")
        return prior

    def encode(self, objects: Sequence[Any]) -> Tensor:
        """Sounds, or waveforms (T,) at 16 kHz, to states; see `codec.encode`."""
        return codec.encode(objects, self.state)

    def decode(self, states: Tensor) -> list[Sound | None]:
        """States to sounds, None where a number is not finite or nothing is heard; see `codec.decode`."""
        return codec.decode(states, self.state)

    def rows(self, states: Tensor) -> tuple[list[Sound | None], list[str]]:
        """Sounds of states and why there is none."""
        sounds = self.decode(states)
        reasons = [
            "" if sound is not None else codec.reason(state) or "silent"
            for sound, state in zip(sounds, states, strict=True)
        ]
        return sounds, reasons

    def measures(self, thing: Sound) -> dict[str, float]:
        """Centroid (Hz), level (dB), duration (s) and onsets of a sound."""
        return {name: float(one[0]) for name, one in metrics.described([thing], codec.encode([thing])).items()}

    def stored(self, thing: Sound) -> bytes:
        """Its samples as they are written."""
        return files.integers(thing.wave).tobytes()

    def picture(self, thing: Sound) -> np.ndarray:
        """The log-mel picture, 0 to 1."""
        return (codec.encode([thing])[0, 0].numpy() + 1) / 2

    def reference(self, label: int | None = None, split: str = "test") -> list[Sound]:
        """Shipped sounds of a part, of one class where a label is given."""
        return self._shipped(label, split)[0]

    def _shipped(self, label: int | None = None, split: str = "test") -> tuple[list[Sound], list[int]]:
        found = clips(split)
        keep = [i for i in range(len(found.waves)) if label is None or found.labels[i] == label]
        return [Sound(fitted(found.waves[i])) for i in keep], [int(found.labels[i]) for i in keep]

    def read_samples(self, path: str | Path, column: str | None = None) -> tuple[list[Sound | None], str]:
        """Generated sounds of a file or folder, None for unusable ones, and a note on what was changed."""
        if column is not None:
            raise ValueError(f"column={column!r} is for tables; sounds are read from a folder, a file or an npz")
        found = files.read(path, on_error="skip")
        if not found.sounds:
            raise ValueError(f"{path}: none of {len(found.skipped)} files is a usable sound: {found.skipped[0][1]}")
        note = self.note(path, found.skipped, "count as invalid", found.notes)
        return [*found.sounds, *[None] * len(found.skipped)], note

    def read_reference(self, path: str | Path, on_error: str = "raise") -> tuple[list[Sound], str]:
        """Real sounds: a folder, a file, an npz, or "one_shots", "one_shots:test"."""
        name, _, split = str(path).partition(":")
        if name == "one_shots":
            return self.reference(split=split or "train"), ""
        found = files.read(path, on_error)
        if not found.sounds:
            raise ValueError(f"{path}: none of {len(found.skipped)} files is a usable sound: {found.skipped[0][1]}")
        return found.sounds, self.note(path, found.skipped, "are left out", found.notes)

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare_sounds`."""
        preparation.prepare_sounds(path, data, trainer)

    def evaluate(
        self,
        objects: Sequence[Sound | None],
        reference: Sequence[Sound] | None = None,
        label: str | int | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """Spectra, levels, a Frechet distance of log-mel frames, diversity, memorisation; see `metrics.evaluate`.

        Args:
            objects: sounds, None = invalid.
            reference: real sounds; None is the shipped test part, of the wanted class where there is one.
            label: class that was wanted, by name or number; None is what the condition says.
            options: of `metrics.evaluate`; `training` is the shipped training part unless given.
        """
        wanted = self.wanted if label is None else class_number(label, self.classes, "class")
        if reference is None:
            reference, options["reference_labels"] = self._shipped(wanted if self.classes == CLASSES else None)
        if "training" not in options:
            options["training"], options["training_labels"] = self._shipped(split="train")
        if wanted is not None and self.classes == CLASSES:
            options.setdefault("labels", [wanted] * len(objects))
        return metrics.evaluate(objects, reference, **options)

    def write(self, folder: Path, states: Tensor, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples/sample-00000.wav and so on (valid ones, 16-bit) and samples.npz into a folder.

        The npz has waves (n, T) int16, rate, the columns and `index`, the row of samples.csv.

        Args:
            folder: existing folder.
            states: (B, ...).
            columns: numbers per sample.
        """
        sounds = self.decode(states)
        valid = [i for i, sound in enumerate(sounds) if sound is not None]
        if not valid:
            return []
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        files.write_sounds(folder / "samples", [sounds[i] for i in valid], [f"sample-{i:05d}" for i in valid])
        waves = np.stack([files.integers(sounds[i].wave) for i in valid])
        files.write_npz(folder / "samples.npz", {"waves": waves, "rate": mel.RATE, "index": valid, **kept})
        return ["samples", "samples.npz"]


class Chorales(SoundDomain):
    """Four bars of sixteenths as piano rolls (B, 2, 64, 56): onset and held; objects are notes (n, 3), see `rolls`.

    Args:
        tempo: quarter notes a minute, of MIDI files written.

    Raises:
        ValueError: a tempo that is not above 0.
        MissingExtraError: a library of the extra is not installed.
    """

    name = "chorales"
    objects = "pieces"
    suffix = ".mid"
    kinds = ROLL_REWARDS
    settings = ("tempo",)
    libraries = ("mido", "matplotlib")
    default = "chorales"
    axes = ("64 sixteenths", "G1 to D6, onsets dark")

    def __init__(self, tempo: float = 84.0) -> None:
        if not tempo > 0:
            raise ValueError(f"tempo={tempo}; quarter notes a minute, above 0, are expected")
        super().__init__()
        self.tempo, self.classes = tempo, MODES

    @property
    def shape(self) -> tuple[int, ...]:
        """(2, 64, 56)."""
        return rolls.SHAPE

    def load_prior(self, name: str = "default") -> Any:
        """See `SoundDomain.load_prior`."""
        prior = super().load_prior(name)
        if tuple(prior.event_shape) != self.shape:
            raise RollError(f"prior {name} is of states {tuple(prior.event_shape)}; {self.shape} is expected")
        return prior

    def encode(self, objects: Sequence[Any]) -> Tensor:
        """Notes (n, 3), or voices (steps, 4), to states; see `rolls.encode`."""
        return rolls.encode(objects)

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """States to notes, None where a number is not finite or there is no note."""
        return rolls.decode(states)

    def rows(self, states: Tensor) -> tuple[list[np.ndarray | None], list[str]]:
        """Notes of states and why there are none."""
        found = rolls.judged(states)
        return [None if why else notes for notes, why, _ in found], [why for _, why, _ in found]

    def verifier(self, forbidden: Sequence[str] = ()) -> ForbiddenPitches:
        """What finds notes that must not sound, and bounds states for guidance=fgg; see `forbidden_pitches`."""
        return forbidden_pitches(forbidden)

    def table(self, states: Tensor) -> list[dict[str, Any]]:
        """See `SoundDomain.table`; `ghosts` are cells that were held without a note before, and are left out."""
        return [
            {**row, "ghosts": float(ghosts)}
            for row, (_, _, ghosts) in zip(super().table(states), rolls.judged(states), strict=True)
        ]

    def measures(self, thing: np.ndarray) -> dict[str, float]:
        """See `roll_metrics.measured`."""
        return roll_metrics.measured(thing)

    def stored(self, thing: np.ndarray) -> bytes:
        """Its notes."""
        return np.ascontiguousarray(thing).tobytes()

    def picture(self, thing: np.ndarray) -> np.ndarray:
        """The piano roll in colours (pitches, steps, 3): onsets dark, held notes light."""
        roll = rolls.drawn(thing, rolls.STEPS, rolls.LOWEST, rolls.PITCHES)
        shown = np.full((*roll.shape[1:], 3), 0.95)
        shown[roll[1]] = (0.45, 0.62, 0.85)
        shown[roll[0]] = (0.1, 0.25, 0.5)
        return shown.transpose(1, 0, 2)

    def reference(self, label: int | None = None, split: str = "test") -> list[np.ndarray]:
        """Excerpts of the shipped chorales of a part, one every 16 steps, of one mode where a label is given."""
        found = chorales(split)
        keep = [i for i in range(len(found.notes)) if label is None or found.labels[i] == label]
        return [rolls.merged(part) for i in keep for part in rolls.excerpts(found.notes[i])]

    def read_samples(self, path: str | Path, column: str | None = None) -> tuple[list[np.ndarray | None], str]:
        """Generated pieces of a MIDI file, a folder or an npz, None for unusable ones, and a note on them."""
        if column is not None:
            raise ValueError(f"column={column!r} is for tables; pieces are read from MIDI files, a folder or an npz")
        found = midi.read(path, on_error="skip")
        if not found.pieces:
            raise ValueError(f"{path}: none of {len(found.skipped)} files is a usable piece: {found.skipped[0][1]}")
        note = self.note(path, found.skipped, "count as invalid", found.notes)
        return [*found.pieces, *[None] * len(found.skipped)], note

    def read_reference(self, path: str | Path, on_error: str = "raise") -> tuple[list[np.ndarray], str]:
        """Real pieces: MIDI files, a folder, an npz, or "chorales", "chorales:test"."""
        name, _, split = str(path).partition(":")
        if name == "chorales":
            return self.reference(split=split or "train"), ""
        found = midi.read(path, on_error)
        if not found.pieces:
            raise ValueError(f"{path}: none of {len(found.skipped)} files is a usable piece: {found.skipped[0][1]}")
        return found.pieces, self.note(path, found.skipped, "are left out", found.notes)

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare_chorales`."""
        preparation.prepare_chorales(path, data, trainer)

    def evaluate(
        self,
        objects: Sequence[np.ndarray | None],
        reference: Sequence[np.ndarray] | None = None,
        label: str | int | None = None,
        **options: Any,
    ) -> dict[str, float | int]:
        """Pitch classes, scales, polyphony, rhythm, memorisation; see `roll_metrics.evaluate`.

        Args:
            objects: notes (n, 3), None = invalid.
            reference: real pieces; None is the shipped test part, of the wanted mode where there is one.
            label: mode that was wanted, by name or number; None is what the condition says.
            options: of `roll_metrics.evaluate`; `training` is the shipped training part unless given.
        """
        wanted = self.wanted if label is None else class_number(label, MODES, "mode")
        if reference is None:
            reference = self.reference(wanted)
            options["reference_labels"] = None if wanted is None else [wanted] * len(reference)
        if "training" not in options:
            options["training"] = self.reference(split="train")
        if wanted is not None:
            options.setdefault("labels", [wanted] * len(objects))
        return roll_metrics.evaluate(objects, reference, **options)

    def write(self, folder: Path, states: Tensor, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples/sample-00000.mid and so on (valid ones) and samples.npz into a folder; returns the file names.

        The npz has notes (m, 3) of all pieces end to end with `offsets`, the columns and `index`, rows of samples.csv.

        Args:
            folder: existing folder.
            states: (B, 2, 64, 56).
            columns: numbers per sample.
        """
        pieces = self.decode(states)
        valid = [i for i, piece in enumerate(pieces) if piece is not None]
        if not valid:
            return []
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        chosen = [pieces[i] for i in valid]
        midi.write_pieces(folder / "samples", chosen, [f"sample-{i:05d}" for i in valid], self.tempo)
        notes, ends = np.concatenate(chosen), np.cumsum([0, *map(len, chosen)])
        files.write_npz(folder / "samples.npz", {"notes": notes, "offsets": ends, "index": valid, **kept})
        return ["samples", "samples.npz"]


def class_number(label: str | int, names: Sequence[str], what: str) -> int:
    """The number of a class given by name or number.

    Raises:
        UnknownNameError: no class of that name.
        ValueError: a number out of range.
    """
    if isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < len(names):
            raise ValueError(f"{what} {label} is out of range; 0 to {len(names) - 1} exist")
        return label
    if str(label) not in names:
        raise UnknownNameError(what, str(label), names)
    return list(names).index(str(label))
