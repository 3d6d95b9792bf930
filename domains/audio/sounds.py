"""The domain of sounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.classes import class_names, class_number, condition_class
from guidekit.core.prior import Codec, Prior
from guidekit.errors import UnknownNameError
from guidekit.examples import Example
from guidekit.io.reading import renumbered
from guidekit.reporting.panels import Layout
from guidekit.samples import Dataset, Samples

from . import codec, files, mel, metrics, preparation
from .codec import AudioError, Sound, SoundCodec
from .data import CLASSES, clips, fitted
from .domain import Found, SoundDomain, with_lacking
from .library import functional
from .rewards import REWARDS

SOUNDS_LACK = (
    "frechet_logmel and the figures of real sounds need such: reference=FOLDER",
    "nearest_mean, nearest_least, copied and nearest_class need the sounds trained on: training=FOLDER, with a "
    "sub-folder a class",
)
"""What is said without a reference, and without a training set."""


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

    def read(self, path: str | Path, on_error: str) -> Found:
        """See `files.read`."""
        found = files.read(path, on_error)
        labels = None if found.labels is None else found.labels.tolist()
        return Found(found.sounds, found.skipped, found.notes, labels, found.classes)

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
            reference: real ones; None is the shipped test part, of the wanted class where there is one, and nothing for
                a prior of other data.
            training: those trained on, whose classes count where it has some; None likewise is the shipped training
                part, an empty sequence nothing.
            prior, condition, labels: see `Domain.evaluate`.
            label: class that was wanted, by name or number; None is what the condition says.
            options: of `metrics.evaluate`.
        """
        own = training.classes if isinstance(training, Dataset) else ()
        names = own or self.known
        if not own:
            wanted = self.label_wanted(label, prior, condition)
        elif label is not None:
            wanted = class_number(label, names, "class of the training set")
        else:
            classes = names if prior is None else class_names(prior)
            number = condition_class(condition, classes)
            named = None if number is None else classes[number]
            wanted = names.index(named) if named in names else None
        if reference is None and self.shipped(prior):
            reference, numbers = self._shipped(None if own else wanted)
            options["reference_labels"] = None if own else numbers
        elif isinstance(reference, Dataset):
            options["reference_labels"] = _numbered(reference, names)
        if training is None and self.shipped(prior):
            training, options["training_labels"] = self._shipped(split="train")
        elif isinstance(training, Dataset):
            options["training_labels"] = _numbered(training, names)
        if labels is None:
            given = _numbered(objects, names) if isinstance(objects, Dataset) and wanted is None else None
            labels = given if wanted is None else [wanted] * len(objects)
        real = None if reference is None else list(reference)
        learned = list(training) if training else None
        made = metrics.evaluate(list(objects), real, training=learned, labels=labels, **options)
        return with_lacking(made, reference, training, SOUNDS_LACK)

    def saved(
        self, folder: Path, objects: Sequence[Sound], names: Sequence[str], codec: Codec | None = None
    ) -> dict[str, Any]:
        """Write WAV files of 16 bits; arrays are waves (n, T) int16 and rate."""
        files.write_sounds(folder, objects, names)
        return {"waves": np.stack([files.integers(sound.wave) for sound in objects]), "rate": mel.RATE}


def _numbered(read: Dataset, names: Sequence[str]) -> list[int] | None:
    """The classes of what was read, as numbers of other names, -1 for none of them; None where it has none."""
    if read.labels is None or not read.classes:
        return None
    return renumbered(np.asarray(read.labels), read.classes, names).tolist()
