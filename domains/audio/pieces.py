"""The domain of chorales."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guidekit.core.prior import Codec, Prior
from guidekit.examples import Example
from guidekit.reporting.panels import Layout
from guidekit.samples import Dataset, Samples

from . import midi, preparation, roll_metrics, rolls
from .data import MODES, chorales
from .domain import Found, SoundDomain, with_lacking
from .forbidden import ForbiddenPitches, forbidden_pitches
from .given import GivenCodec, going_on, opening, spoken
from .roll_rewards import ROLL_REWARDS
from .timing import FASTEST, SLOWEST, TEMPO, Timing

PIECES_LACK = (
    "pitch_class_kl, length_overlap, gap_overlap and the figures of real pieces need such: reference=FOLDER",
    "nearest_mean, nearest_least and copied need the pieces trained on: training=FOLDER",
)
"""What is said without a reference, and without a training set."""


@dataclasses.dataclass(frozen=True)
class Chorales(SoundDomain):
    """Four bars of sixteenths as piano rolls (B, 2, 64, 56): onset and held; objects are notes (n, 3), see `rolls`.

    Args:
        tempo: quarter notes a minute, of MIDI files written; None is that of the piece a task is about, else 84.

    Raises:
        ValueError: a tempo outside 4 to 960.
        MissingExtraError: a library of the extra is not installed.
    """

    tempo: float | None = None
    name = "chorales"
    objects = "pieces"
    suffix = ".mid"
    kinds = ROLL_REWARDS
    libraries = ("mido", "matplotlib")
    known = MODES
    layout = Layout(
        columns=4, size=(1.18, 0.82), shades={}, upward=True, note="each: 64 sixteenths; upward: G1 to D6, onsets dark"
    )

    def __post_init__(self) -> None:
        """Refuse a tempo that is none, and a lack of libraries."""
        if self.tempo is not None and not SLOWEST <= self.tempo <= FASTEST:
            raise ValueError(
                f"tempo={self.tempo}; quarter notes a minute, from {SLOWEST:g} to {FASTEST:g}, are expected"
            )
        super().__post_init__()

    def examples(self) -> Sequence[Example]:
        """See `Domain.examples`."""
        from .examples import PIECES

        return PIECES

    @property
    def default(self) -> str:
        """Name of the shipped pieces, and of the prior made from them."""
        return "chorales"

    @property
    def codec(self) -> rolls.RollCodec:
        """That of piano rolls."""
        return rolls.RollCodec()

    @property
    def shape(self) -> tuple[int, ...]:
        """(2, 64, 56)."""
        return rolls.SHAPE

    def reasons(self, samples: Samples) -> list[str]:
        """See `SoundDomain.reasons`."""
        return [why for _, why, _ in _judged(samples)]

    def verifier(self, forbidden: Sequence[str] = (), prior: Prior | None = None) -> ForbiddenPitches:
        """What finds notes that must not sound, and bounds states for guidance=fgg; see `forbidden_pitches`."""
        moved = prior.codec.semitones if prior is not None and isinstance(prior.codec, GivenCodec) else 0
        if forbidden:
            return forbidden_pitches(forbidden, moved)
        return ForbiddenPitches(torch.zeros(rolls.SHAPE[1:]).bool())

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """See `SoundDomain.table`; `ghosts` are cells that were held without a note before, and are left out."""
        return [
            {**row, "ghosts": float(ghosts)}
            for row, (_, _, ghosts) in zip(super().table(samples), _judged(samples), strict=True)
        ]

    def measures(self, thing: np.ndarray) -> dict[str, float]:
        """See `roll_metrics.measured`."""
        return roll_metrics.measured(thing)

    def stored(self, thing: np.ndarray) -> bytes:
        """Its notes."""
        return np.ascontiguousarray(thing).tobytes()

    def picture(self, thing: np.ndarray, codec: Codec | None = None) -> np.ndarray:
        """The piano roll in colours (pitches, steps, 3): onsets dark, held notes light; what a codec sees of it."""
        roll = ((codec or self.codec).encode([thing])[0] > 0).numpy()
        shown = np.full((*roll.shape[1:], 3), 0.95)
        shown[roll[1]] = (0.45, 0.62, 0.85)
        shown[roll[0]] = (0.1, 0.25, 0.5)
        return shown.transpose(1, 0, 2)

    def pictured(self, prior: Prior) -> Callable[[Any], np.ndarray]:
        """See `SoundDomain.pictured`; of a piece that goes on, the window in which it does."""
        return partial(self.picture, codec=prior.codec)

    def reference(
        self, label: int | None = None, *, split: str = "test", prior: Prior | None = None
    ) -> list[np.ndarray]:
        """Excerpts of the shipped chorales of a part, one every 16 steps, of one mode where a label is given."""
        found = chorales(split)
        keep = [i for i in range(len(found.notes)) if label is None or found.labels[i] == label]
        return [rolls.merged(part) for i in keep for part in rolls.excerpts(found.notes[i])]

    def read(self, path: str | Path, on_error: str) -> Found:
        """See `midi.read`."""
        return Found(*midi.read(path, on_error))

    def read_reference(self, path: str | Path, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """See `SoundDomain.read_reference`; a prior that is about one piece is given the first, whole."""
        codec = None if prior is None else prior.codec
        if not isinstance(codec, GivenCodec) or str(path).partition(":")[0] == self.default:
            return super().read_reference(path, on_error, prior)
        score = midi.first(path)
        return Dataset([score.notes], notes=f"{Path(path).name}: {_told(score, codec)}")

    def for_task(self, prior: Prior, task: Mapping[str, Any]) -> tuple[Prior, Mapping[str, Any]]:
        """See `Domain.for_task`: one piece of a file is brought to the prior's key and back; all of it is kept where
        it goes on."""
        named = task.get("input")
        named = named[0] if isinstance(named, Sequence) and not isinstance(named, str) and len(named) == 1 else named
        if not isinstance(named, str) or named.partition(":")[0] == self.default or Path(named).is_dir():
            return prior, task
        score = midi.first(named)
        if task["name"] != "continuation":
            return _with(prior, opening(score)), task
        codec = going_on(score, task.get("known"))
        return _with(prior, codec), {**task, "known": codec.known / rolls.STEPS, "damaged": True}

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare_chorales`."""
        preparation.prepare_chorales(path, data, trainer)

    def evaluate(
        self,
        objects: Sequence[np.ndarray | None],
        reference: Sequence[np.ndarray] | None = None,
        *,
        training: Sequence[np.ndarray] | None = None,
        prior: Prior | None = None,
        condition: Any = None,
        labels: Sequence[int] | None = None,
        label: str | int | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """Pitch classes, scales, polyphony, rhythm, memorisation; see `roll_metrics.evaluate`.

        Args:
            objects: notes (n, 3), None = invalid.
            reference: real ones; None is the shipped test part, of the wanted class where there is one, and nothing for
                a prior of other data.
            training: those trained on; None likewise is the shipped training part, an empty sequence nothing.
            prior, condition, labels: see `Domain.evaluate`.
            label: class that was wanted, by name or number; None is what the condition says.
            options: of `roll_metrics.evaluate`.
        """
        wanted = self.label_wanted(label, prior, condition)
        if reference is None and self.shipped(prior):
            reference = self.reference(wanted)
            options["reference_labels"] = None if wanted is None else [wanted] * len(reference)
        if training is None and self.shipped(prior):
            training = self.reference(split="train")
        if labels is None and wanted is not None:
            labels = [wanted] * len(objects)
        made = roll_metrics.evaluate(list(objects), reference, training=training or None, labels=labels, **options)
        return with_lacking(made, reference, training, PIECES_LACK)

    def saved(
        self, folder: Path, objects: Sequence[np.ndarray], names: Sequence[str], codec: Codec | None = None
    ) -> dict[str, Any]:
        """Write MIDI files; arrays are the notes (m, 3) of all pieces end to end, and `offsets`."""
        timing = codec.timing if isinstance(codec, GivenCodec) else Timing(((0, TEMPO),))
        midi.write_pieces(folder, objects, names, timing if self.tempo is None else timing.at(self.tempo))
        return {"notes": np.concatenate(objects), "offsets": np.cumsum([0, *map(len, objects)])}


def _judged(samples: Samples) -> list[tuple[np.ndarray, str, int]]:
    """See `rolls.judged`."""
    codec = samples.prior.codec
    return codec.judged(samples.states) if isinstance(codec, GivenCodec) else rolls.judged(samples.states)


def _with(prior: Prior, codec: GivenCodec) -> Prior:
    """The same prior of pieces that are given."""
    made = copy.copy(prior)
    made.codec = codec
    return made


def _told(score: midi.Score, codec: GivenCodec) -> str:
    return "; ".join(filter(None, [score.remark, spoken(score, codec)]))
