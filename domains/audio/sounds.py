"""The domain of sounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.core.prior import Codec, Prior
from guidekit.errors import UnknownNameError
from guidekit.examples import Example
from guidekit.reporting.panels import Layout
from guidekit.samples import Samples

from . import codec, files, mel, metrics, preparation
from .codec import AudioError, Sound, SoundCodec
from .data import CLASSES, clips, fitted
from .domain import SoundDomain
from .library import functional
from .rewards import REWARDS


@dataclasses.dataclass(frozen=True)
class Audio(SoundDomain):
    """Sounds of up to 1.024 s at 16 kHz; objects are `Sound`.

    Args:
        state: "mel" for log-mel pictures (B, 1, 64, 64), as the priors have, or "waveform" for (B, 1, 16384); both in
            [-1, 1].

    Raises:
        UnknownNameError: another kind of state.
        MissingExtraError: a library of the extra is not installed.
    """

    state: str = "mel"
    name = "audio"
    objects = "sounds"
    suffix = ".wav"
    kinds = REWARDS
    libraries = ("soundfile", "matplotlib")
    known = CLASSES
    layout = Layout(
        columns=4,
        size=(1.18, 0.82),
        shades={"cmap": "magma", "vmin": 0, "vmax": 1},
        upward=True,
        note="each: 1.024 s; upward: 20 Hz to 8 kHz (mel), -80 dB dark to 0 dB bright",
    )

    def __post_init__(self) -> None:
        """Refuse another kind of state, and a lack of libraries."""
        if self.state not in codec.STATES:
            raise UnknownNameError("kind of state", str(self.state), codec.STATES)
        super().__post_init__()
        functional()

    def examples(self) -> Sequence[Example]:
        """See `Domain.examples`."""
        from .examples import EXAMPLES

        return EXAMPLES

    @property
    def default(self) -> str:
        """Name of the shipped sounds, and of the prior made from them."""
        return "one_shots"

    @property
    def codec(self) -> SoundCodec:
        """Of the domain's kind of states."""
        return SoundCodec(self.state)

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, 64, 64) or (1, 16384)."""
        return codec.STATES[self.state]

    def checkpoint(self, name: str) -> Path:
        """See `Domain.checkpoint`; no prior of waveforms is shipped."""
        if name == "default" and self.state == "waveform":
            raise AudioError(
                "no prior of waveforms is shipped: give prior=mine.safetensors, made by guidekit train domain=audio "
                "domain.state=waveform trainer=waveforms output=mine.safetensors"
            )
        return super().checkpoint(name)

    def reasons(self, samples: Samples) -> list[str]:
        """See `SoundDomain.reasons`."""
        pairs = zip(samples.objects, samples.states, strict=True)
        return ["" if sound is not None else codec.reason(state) or "silent" for sound, state in pairs]

    def measures(self, thing: Sound) -> dict[str, float]:
        """Centroid (Hz), level (dB), duration (s) and onsets of a sound."""
        return {name: float(one[0]) for name, one in metrics.described([thing], codec.encode([thing])).items()}

    def stored(self, thing: Sound) -> bytes:
        """Its samples as they are written."""
        return files.integers(thing.wave).tobytes()

    def picture(self, thing: Sound) -> np.ndarray:
        """The log-mel picture, 0 to 1."""
        return (codec.encode([thing])[0, 0].numpy() + 1) / 2

    def reference(self, label: int | None = None, *, split: str = "test", prior: Prior | None = None) -> list[Sound]:
        """Shipped sounds of a part, of one class where a label is given."""
        return self._shipped(label, split)[0]

    def _shipped(self, label: int | None = None, split: str = "test") -> tuple[list[Sound], list[int]]:
        found = clips(split)
        keep = [i for i in range(len(found.waves)) if label is None or found.labels[i] == label]
        return [Sound(fitted(found.waves[i])) for i in keep], [int(found.labels[i]) for i in keep]

    def read(self, path: str | Path, on_error: str) -> tuple[list[Sound], list[tuple[str, str]], list[str]]:
        """See `files.read`."""
        found = files.read(path, on_error)
        return found.sounds, found.skipped, found.notes

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare_sounds`."""
        preparation.prepare_sounds(path, data, trainer, self.state)

    def evaluate(
        self,
        objects: Sequence[Sound | None],
        reference: Sequence[Sound] | None = None,
        *,
        training: Sequence[Sound] | None = None,
        prior: Prior | None = None,
        condition: Any = None,
        labels: Sequence[int] | None = None,
        label: str | int | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """Spectra, levels, a Frechet distance of log-mel frames, diversity, memorisation; see `metrics.evaluate`.

        Args:
            objects: sounds, None = invalid.
            reference: real ones; None is the shipped test part, of the wanted class where there is one.
            training: those trained on; None is the shipped training part, an empty sequence nothing.
            prior, condition, labels: see `Domain.evaluate`.
            label: class that was wanted, by name or number; None is what the condition says.
            options: of `metrics.evaluate`.
        """
        wanted = self.label_wanted(label, prior, condition)
        if reference is None:
            reference, options["reference_labels"] = self._shipped(wanted)
        if training is None:
            training, options["training_labels"] = self._shipped(split="train")
        if labels is None and wanted is not None:
            labels = [wanted] * len(objects)
        return metrics.evaluate(list(objects), reference, training=training or None, labels=labels, **options)

    def saved(
        self, folder: Path, objects: Sequence[Sound], names: Sequence[str], codec: Codec | None = None
    ) -> dict[str, Any]:
        """Write WAV files of 16 bits; arrays are waves (n, T) int16 and rate."""
        files.write_sounds(folder, objects, names)
        return {"waves": np.stack([files.integers(sound.wave) for sound in objects]), "rate": mel.RATE}
