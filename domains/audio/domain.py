"""What the domains of sounds and of chorales have in common."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from guidekit.classes import class_names, class_number, condition_class
from guidekit.core.objective import Objective
from guidekit.core.prior import Codec, Prior
from guidekit.domain import Domain
from guidekit.extras import require
from guidekit.io.files import write_npz
from guidekit.io.reading import note
from guidekit.objectives.of_states import StateModel
from guidekit.objectives.restoration import RESTORATION
from guidekit.reporting.panels import Layout, Panel, best, draw, spread
from guidekit.reporting.summary import STATISTICS, means, ranked, summarised
from guidekit.samples import Dataset, Samples

from .data import ASSETS
from .tasks import TASKS


class Found(NamedTuple):
    """What `SoundDomain.read` found: objects, (name, reason) of what is unusable, notes; labels count classes."""

    objects: Sequence[Any]
    skipped: Sequence[tuple[str, str]]
    notes: Sequence[str]
    labels: Sequence[int] | None = None
    classes: tuple[str, ...] = ()


def with_lacking(
    figures: Mapping[str, float | int | str], reference: Any, training: Any, said: tuple[str, str]
) -> dict[str, float | int | str]:
    """Figures with a note on those that are missing, for want of a reference or of a training set."""
    told = [text for given, text in zip((reference, training), said, strict=True) if given is None]
    notes = [str(figures["note"])] if "note" in figures else []
    return {**figures, "note": "; ".join(notes + told)} if told else dict(figures)


@dataclasses.dataclass(frozen=True)
class SoundDomain(Domain):
    """Base: real-valued pictures of what sounds (B, C, H, W) in [-1, 1], with classes."""

    assets = ASSETS
    job = "array_job"
    tasks = RESTORATION | TASKS
    network = StateModel
    libraries: ClassVar[tuple[str, ...]]
    """Modules of the extra that are needed for anything but training."""
    known: ClassVar[tuple[str, ...]]
    """Classes of the shipped data."""
    layout: ClassVar[Layout]
    """Of pictures."""

    def __post_init__(self) -> None:
        """Say what is missing now, not after an hour of sampling."""
        for module in self.libraries:
            require("audio", module)

    def codec_for(self, prior: Prior, description: Mapping[str, Any]) -> Codec:
        """See `Domain.codec_for`; states must have the domain's shape."""
        if tuple(prior.event_shape) != self.shape:
            raise ValueError(f"{prior.name} is of states {tuple(prior.event_shape)}; {self.shape} are expected here")
        return self.codec

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a state, without the batch."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement shape")

    def label_wanted(
        self, label: str | int | None = None, prior: Prior | None = None, condition: Any = None
    ) -> int | None:
        """The number, among the classes of the shipped data, of the class that samples were to be of.

        Args:
            label: its name or number; None is what the condition says, which may be a class of other data.
            prior, condition: see `Domain.evaluate`.
        """
        if label is not None:
            return class_number(label, self.known, f"class of {self.default}")
        classes = self.known if prior is None else class_names(prior)
        number = condition_class(condition, classes)
        name = None if number is None else classes[number]
        return self.known.index(name) if name in self.known else None

    def reasons(self, samples: Samples) -> list[str]:
        """Why a state is no object, empty where it is one."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement reasons")

    def measures(self, thing: Any) -> dict[str, float]:
        """Numbers of an object for tables."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement measures")

    def stored(self, thing: Any) -> bytes:
        """What makes two objects the same."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement stored")

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """One row a sample for samples.csv: checksum, the numbers of `measures`, validity and the reason."""
        objects, reasons = samples.objects, self.reasons(samples)
        numbers = [None if one is None else self.measures(one) for one in objects]
        empty = dict.fromkeys(next((one for one in numbers if one is not None), {}), math.nan)
        return [
            {"checksum": "" if one is None else f"{zlib.crc32(self.stored(one)):08x}"}
            | (empty if own is None else own)
            | {"valid": one is not None, "reason": reason}
            for one, own, reason in zip(objects, numbers, reasons, strict=True)
        ]

    def summary(
        self, rows: Sequence[Mapping[str, Any]], values: Sequence[float], samples: Samples | None = None
    ) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; means over distinct valid ones."""
        figures, kept = summarised(rows, values, "checksum", tuple(STATISTICS))
        return figures | means(kept, [name for name in rows[0] if name not in ("checksum", "valid", "reason")])

    def picture(self, thing: Any) -> np.ndarray:
        """An object as numbers (H, W) or colours (H, W, 3) for `figure`, low pitches first."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement picture")

    def pictured(self, prior: Prior) -> Callable[[Any], np.ndarray]:
        """`picture` of what a prior made."""
        return self.picture

    def reference(self, label: int | None = None, *, split: str = "test", prior: Prior | None = None) -> list[Any]:
        """Real objects shipped with the domain, of one class where a label is given."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement reference")

    def figure(
        self,
        samples: Samples,
        values: Sequence[float],
        label: str,
        path: Path,
        most: int = 12,
        *,
        unguided: tuple[Samples, Sequence[float]] | None = None,
        objective: Objective | None = None,
    ) -> str | None:
        """The best distinct valid samples beside unguided or real ones; returns the file name, None without any.

        Args:
            samples, values, label, path, unguided, objective: see `Domain.figure`.
            most: pictures a panel.
        """
        guided = self._panel("samples" if unguided is None else "guided", samples, values, label, most)
        if not guided.pictures:
            return None
        if unguided is None:
            wanted = self.label_wanted(None, samples.prior, samples.condition)
            beside = spread("real", self.reference(wanted), most, self.picture)
        else:
            beside = self._panel("unguided", *unguided, label, most)
        draw([guided, beside], self.layout, path)
        return path.name

    def compared(self, groups: Mapping[str, Samples], path: Path, most: int = 12) -> str | None:
        """Draw groups of samples side by side; returns the file name, None where nothing is valid.

        Args:
            groups: samples by title; those without an object are left out.
            path: PNG to write.
            most: pictures a panel.
        """
        found = {title: [one for one in group.objects if one is not None] for title, group in groups.items()}
        if not any(found.values()):
            return None
        panels = [spread(title, things, most, self.pictured(groups[title].prior)) for title, things in found.items()]
        draw(panels, self.layout, path)
        return path.name

    def _panel(self, title: str, samples: Samples, values: Sequence[float], label: str, most: int) -> Panel:
        found = ranked(samples.objects, values, lambda one: None if one is None else self.stored(one))
        return best(title, found, len(values), label, most, self.pictured(samples.prior))

    def read(self, path: str | Path, on_error: str) -> Found:
        """What a file or folder holds."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement read")

    def shipped(self, prior: Prior | None = None) -> str:
        """See `Domain.shipped`: those that the shipped prior was made from."""
        return f"{self.objects} ({self.default})" if prior is None or prior.dataset == self.default else ""

    def read_samples(self, path: str | Path, column: str | None = None, prior: Prior | None = None) -> Dataset:
        """Generated objects of a file or folder, None for unusable ones, and a note on what was changed."""
        if column is not None:
            raise ValueError(f"column={column!r} is for tables; {self.objects} are read from files, folders or an npz")
        found = self._usable(path, "skip")
        told, gone = note(path, found.skipped, "count as invalid", "files", found.notes), len(found.skipped)
        labels = None if found.labels is None else [*found.labels, *[-1] * gone]
        return Dataset([*found.objects, *[None] * gone], labels, found.classes, notes=told)

    def read_reference(self, path: str | Path, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """Real objects of a file or folder, or shipped ones: "one_shots" (those for training), "one_shots:test"."""
        name, _, split = str(path).partition(":")
        if name == self.default:
            return Dataset(self.reference(split=split or "train"))
        found = self._usable(path, on_error)
        told = note(path, found.skipped, "are left out", "files", found.notes)
        return Dataset(found.objects, found.labels, found.classes, notes=told)

    def _usable(self, path: str | Path, on_error: str) -> Found:
        found = self.read(path, on_error)
        if not found.objects:
            raise ValueError(f"{path}: none of {len(found.skipped)} {self.objects} is usable: {found.skipped[0][1]}")
        return found

    def write(self, folder: Path, samples: Samples, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples/sample-00000 and so on (valid ones) and samples.npz into a folder; returns the file names.

        The npz has the arrays of `saved`, the columns and `index`, the row of samples.csv.
        """
        objects = samples.objects
        valid = [i for i, one in enumerate(objects) if one is not None]
        if not valid:
            return []
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        names = [f"sample-{i:05d}" for i in valid]
        arrays = self.saved(folder / "samples", [objects[i] for i in valid], names, samples.prior.codec)
        write_npz(folder / "samples.npz", {**arrays, "index": valid, **kept})
        return ["samples", "samples.npz"]

    def saved(
        self, folder: Path, objects: Sequence[Any], names: Sequence[str], codec: Codec | None = None
    ) -> dict[str, Any]:
        """Write objects into a folder in the field's format, and return all of them as arrays that `read` takes.

        Args:
            folder: where to.
            objects: all valid.
            names: of the files, without suffix.
            codec: that made the objects.
        """
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement saved")
