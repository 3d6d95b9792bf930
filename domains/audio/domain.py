"""What the domains of sounds and of chorales have in common."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from guidekit.classes import class_names, class_number, condition_class
from guidekit.domain import Domain, require
from guidekit.evaluation.panels import Layout, Panel, best, draw, spread
from guidekit.evaluation.summary import STATISTICS, means, ranked, summarised
from guidekit.files import write_npz
from guidekit.objectives import ObjectReward
from guidekit.objectives.of_states import StateReward, state_reward
from guidekit.core.prior import Prior
from guidekit.reading import note

from .data import ASSETS
from .tasks import TASKS


class SoundDomain(Domain):
    """Base: real-valued pictures of what sounds (B, C, H, W) in [-1, 1], with classes."""

    assets = ASSETS
    job = "array_job"
    shows_unguided = True
    judges_labels = True
    tasks = TASKS
    libraries: tuple[str, ...]
    """Modules of the extra that are needed for anything but training."""
    default: str
    """Name of the shipped data, and of the prior made from them."""
    known: tuple[str, ...]
    """Classes of the shipped data."""
    layout: Layout
    """Of pictures."""

    def __init__(self) -> None:
        for module in self.libraries:  # say so now, not after an hour of sampling
            require("audio", module)
        self.classes = self.known
        self.wanted: int | None = None

    def load_prior(self, name: str = "default") -> Prior:
        """A shipped prior or one in a checkpoint file; takes over its classes.

        Raises:
            CheckpointError: missing, truncated, or of another domain.
            UnknownNameError: neither a shipped prior nor a file.
            ValueError: of other states.
        """
        from guidekit.priors.checkpoints import load_gaussian_prior

        prior = load_gaussian_prior(self.checkpoint(name), self.name)
        if tuple(prior.event_shape) != self.shape:
            raise ValueError(f"prior {name} is of states {tuple(prior.event_shape)}; {self.shape} are expected here")
        self.classes = class_names(prior)
        return prior

    def bind(self, function: Callable, name: str | None = None, **options: Any) -> StateReward | ObjectReward:
        """A reward of states from a function of an object; those of states and torch modules are taken as they are."""
        found = state_reward(function)
        if found is None:
            return super().bind(function, name, **options)
        found.refuse_shape(self.shape)
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a state, without the batch."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement shape")

    def compare_with(self, condition: Any) -> None:
        """Samples of one class are compared with real ones of it."""
        self.wanted = condition_class(condition, self.classes)

    def label_wanted(self, label: str | int | None = None) -> int | None:
        """The number, among the classes of the shipped data, of the class that samples were to be of.

        Args:
            label: its name or number; None is what the condition said, which may be a class of other data.
        """
        if label is not None:
            return class_number(label, self.known, f"class of {self.default}")
        name = None if self.wanted is None else self.classes[self.wanted]
        return self.known.index(name) if name in self.known else None

    def rows(self, states: Tensor) -> tuple[list[Any | None], list[str]]:
        """Objects of states and why there is none, empty where there is one."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement rows")

    def measures(self, thing: Any) -> dict[str, float]:
        """Numbers of an object for tables."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement measures")

    def stored(self, thing: Any) -> bytes:
        """What makes two objects the same."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement stored")

    def table(self, states: Tensor) -> list[dict[str, Any]]:
        """One row a sample for samples.csv: checksum, the numbers of `measures`, validity and the reason."""
        objects, reasons = self.rows(states)
        numbers = [None if one is None else self.measures(one) for one in objects]
        empty = dict.fromkeys(next((one for one in numbers if one is not None), {}), math.nan)
        return [
            {"checksum": "" if one is None else f"{zlib.crc32(self.stored(one)):08x}"}
            | (empty if own is None else own)
            | {"valid": one is not None, "reason": reason}
            for one, own, reason in zip(objects, numbers, reasons, strict=True)
        ]

    def summary(self, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; means over distinct valid ones."""
        figures, kept = summarised(rows, values, "checksum", tuple(STATISTICS))
        return figures | means(kept, [name for name in rows[0] if name not in ("checksum", "valid", "reason")])

    def picture(self, thing: Any) -> np.ndarray:
        """An object as numbers (H, W) or colours (H, W, 3) for `figure`, low pitches first."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement picture")

    def reference(self, label: int | None = None, split: str = "test") -> list[Any]:
        """Real objects shipped with the domain, of one class where a label is given."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement reference")

    def figure(
        self,
        states: Tensor,
        values: Sequence[float],
        label: str,
        path: Path,
        most: int = 12,
        unguided: tuple[Tensor, Sequence[float]] | None = None,
    ) -> str | None:
        """The best distinct valid samples beside unguided or real ones; returns the file name, None without any.

        Args:
            states: (B, C, H, W).
            values: rewards (B,), NaN for none.
            label: of the reward.
            path: PNG to write.
            most: pictures a panel.
            unguided: states and rewards of samples without guidance.
        """
        guided = self._panel("samples" if unguided is None else "guided", states, values, label, most)
        if not guided.pictures:
            return None
        if unguided is None:
            beside = spread("real", self.reference(self.label_wanted()), most, self.picture)
        else:
            beside = self._panel("unguided", *unguided, label, most)
        draw([guided, beside], self.layout, path)
        return path.name

    def compared(self, groups: Mapping[str, Tensor], path: Path, most: int = 12) -> str | None:
        """Draw groups of states side by side; returns the file name, None where nothing is valid.

        Args:
            groups: states (B, *S) by title; those without an object are left out.
            path: PNG to write.
            most: pictures a panel.
        """
        found = {title: [one for one in self.decode(states) if one is not None] for title, states in groups.items()}
        if not any(found.values()):
            return None
        draw([spread(title, things, most, self.picture) for title, things in found.items()], self.layout, path)
        return path.name

    def _panel(self, title: str, states: Tensor, values: Sequence[float], label: str, most: int) -> Panel:
        found = ranked(self.decode(states), values, lambda one: None if one is None else self.stored(one))
        return best(title, found, len(values), label, most, self.picture)

    def read(self, path: str | Path, on_error: str) -> tuple[list[Any], list[tuple[str, str]], list[str]]:
        """Objects of a file or folder, (name, reason) of what is unusable, and notes on what was changed."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement read")

    def read_samples(self, path: str | Path, column: str | None = None) -> tuple[list[Any | None], str]:
        """Generated objects of a file or folder, None for unusable ones, and a note on what was changed."""
        if column is not None:
            raise ValueError(f"column={column!r} is for tables; {self.objects} are read from files, folders or an npz")
        objects, skipped, notes = self._usable(path, "skip")
        return [*objects, *[None] * len(skipped)], note(path, skipped, "count as invalid", "files", notes)

    def read_reference(self, path: str | Path, on_error: str = "raise") -> tuple[list[Any], str]:
        """Real objects of a file or folder, or shipped ones: "one_shots" (those for training), "one_shots:test"."""
        name, _, split = str(path).partition(":")
        if name == self.default:
            return self.reference(split=split or "train"), ""
        objects, skipped, notes = self._usable(path, on_error)
        return objects, note(path, skipped, "are left out", "files", notes)

    def _usable(self, path: str | Path, on_error: str) -> tuple[list[Any], list[tuple[str, str]], list[str]]:
        objects, skipped, notes = self.read(path, on_error)
        if not objects:
            raise ValueError(f"{path}: none of {len(skipped)} {self.objects} is usable: {skipped[0][1]}")
        return objects, skipped, notes

    def write(self, folder: Path, states: Tensor, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples/sample-00000 and so on (valid ones) and samples.npz into a folder; returns the file names.

        The npz has the arrays of `saved`, the columns and `index`, the row of samples.csv.

        Args:
            folder: existing folder.
            states: (B, ...).
            columns: numbers per sample.
        """
        objects = self.decode(states)
        valid = [i for i, one in enumerate(objects) if one is not None]
        if not valid:
            return []
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        arrays = self.saved(folder / "samples", [objects[i] for i in valid], [f"sample-{i:05d}" for i in valid])
        write_npz(folder / "samples.npz", {**arrays, "index": valid, **kept})
        return ["samples", "samples.npz"]

    def saved(self, folder: Path, objects: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
        """Write objects into a folder in the field's format, and return all of them as arrays that `read` takes."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement saved")
