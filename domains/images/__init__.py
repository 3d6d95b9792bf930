"""Pictures in [-1, 1]: Fashion-MNIST and emoji, rewards with gradients, a judge of its own, metrics, grids."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from guidekit.domain import Domain, require
from guidekit.names import UnknownNameError
from guidekit.objectives import ObjectReward
from guidekit.objectives.of_states import StateReward, state_reward
from guidekit.priors.checkpoints import read_description

from . import codec
from .codec import ImageError
from .data import ASSETS, SETS, pictures, split_name
from .figures import Panel, best, grids
from .files import MOST_IN_GRID, png, read, tiled, write_folder, write_npz
from .judging import Classifier, class_number, load, shipped
from .metrics import evaluate
from .preparation import prepare
from .rewards import REWARDS, ImageModel
from .tables import rows, summary


class Images(Domain):
    """Pictures as real numbers (B, C, H, W) in [-1, 1]; objects are uint8 arrays (H, W) or (H, W, 3).

    Args:
        set: "fashion_mnist" (28 x 28, grey) or "emoji" (32 x 32, RGB); None is the set of the prior loaded last, or
            Fashion-MNIST. With a prior of other data there is neither a judge nor a reference.

    Raises:
        UnknownNameError: no such set.
        MissingExtraError: a library of the extra is not installed.
    """

    name = "images"
    objects = "images"
    suffix = ".png"
    assets = ASSETS
    kinds = REWARDS
    settings = ("set",)
    job = "array_job"
    shows_unguided = True

    def __init__(self, set: str | None = None) -> None:
        if set is not None and set not in SETS:
            raise UnknownNameError("set of images", str(set), SETS)
        for module in ("PIL", "matplotlib"):  # say so now, not after an hour of sampling
            require(self.name, module)
        self.set: str | None = set or "fashion_mnist"
        self.given = set is not None
        self.shape, self.classes = SETS[self.set].shape, SETS[self.set].classes
        self.wanted: int | None = None
        self._read: tuple[Any, np.ndarray | None] = (None, None)

    def load_prior(self, name: str = "default") -> Any:
        """A shipped prior ("default" is that of the set), a file or a folder of diffusers; sets set and shape.

        Raises:
            CheckpointError: missing, truncated, or of another domain.
            UnknownNameError: neither a shipped prior nor a file.
            ValueError: a prior of another set than the domain was made for.
        """
        from guidekit.priors.checkpoints import load_gaussian_prior

        path = self.checkpoint(name)
        prior = load_gaussian_prior(path, self.name)
        made = None if path.is_dir() else read_description(path, self.name).get("dataset")
        if self.given and made in SETS and made != self.set:
            raise ValueError(f"prior {name} was trained on {made}, not on domain.set={self.set}; leave domain.set out")
        labels = [label.values for label in prior.labels if label.name == "class"]
        self.set = self.set if self.given else made if made in SETS else None
        self.shape, self.classes = tuple(prior.event_shape), tuple(labels[0]) if labels else ()
        return prior

    def checkpoint(self, name: str) -> Path:
        """See `Domain.checkpoint`; "default" is the prior named after the set, where there is one."""
        own = self.assets / f"{self.set}.safetensors"
        return own if name == "default" and own.is_file() else super().checkpoint(name)

    def encode(self, objects: Sequence[np.ndarray]) -> Tensor:
        """Images to states (B, C, H, W); ImageError for other sizes, channels or numbers."""
        return codec.encode(objects, self.shape)

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """States to images, None where a number is not finite."""
        return codec.decode(states, self.shape)

    def bind(self, function: Callable, name: str | None = None) -> StateReward | ObjectReward:
        """A reward of states from a function of an image; rewards of states and torch modules are taken as they are."""
        found = state_reward(function, ImageModel)
        if found is not None:
            return found
        reward = super().bind(function, name)
        if hasattr(function, "temperature"):
            reward.temperature = function.temperature
        return reward

    def compare_with(self, condition: Any) -> None:
        """Samples of one class are judged by whether they show it, and compared with real images of it."""
        named = condition.get("class") if isinstance(condition, Mapping) else condition
        if isinstance(named, Sequence) and not isinstance(named, str) and len(named) == 1:
            named = named[0]
        whole = isinstance(named, int) and not isinstance(named, bool) and 0 <= named < len(self.classes)
        known = isinstance(named, str) and named in self.classes
        self.wanted = class_number(named, self.classes, self.name) if known or whole else None

    @property
    def judge(self) -> Classifier | None:
        """The classifier that judges images of the set; none for other data."""
        path = None if self.set is None else shipped(self.set, "judge")
        return load(path) if path is not None and path.is_file() else None

    def reference(self, label: int | None = None, split: str = "test") -> list[np.ndarray]:
        """Real images of the set, of one class where a label is given; none for a prior of other data."""
        return self._pictures(label, split)[0]

    def _pictures(self, label: int | None = None, split: str = "test") -> tuple[list[np.ndarray], list[int]]:
        """See `reference`; with the class numbers."""
        if self.set is None:
            return [], []
        images, labels, _ = pictures(self.set, split)
        keep = slice(None) if label is None else labels == label
        return list(images[keep]), labels[keep].tolist()

    def read_samples(self, path: str | Path, column: str | None = None) -> tuple[list[np.ndarray | None], str]:
        """Generated images of an npz, a folder or a picture, None for damaged ones, and a note on them.

        The class wanted of each (the array `labels` of a run's samples.npz) is remembered for `evaluate`.
        """
        if column is not None:
            raise ValueError(f"column={column!r} is for tables; images are read from an npz, a folder or a picture")
        result = read(path, None if self.set is None else self.shape, on_error="skip")
        if not result.images:
            raise ValueError(f"{path}: none of {len(result.skipped)} files is an image: {result.skipped[0][1]}")
        objects = [*result.images, *[None] * len(result.skipped)]
        labels = result.labels
        if labels is not None and result.classes:  # sub-folders have the names of classes, perhaps not of all of them
            numbers = [self.classes.index(name) if name in self.classes else -1 for name in result.classes] + [-1]
            labels = np.array(numbers)[labels]
        if labels is not None:
            labels = np.concatenate([labels, np.full(len(result.skipped), -1)])
        self._read = (objects, labels)
        return objects, self._note(path, result.skipped, "count as invalid")

    def read_reference(self, path: str | Path, on_error: str = "raise") -> tuple[list[np.ndarray], str]:
        """Real images: an npz, a folder, a picture, or a shipped set such as "emoji", "fashion_mnist:test".

        With on_error "skip" bad pictures are left out, with a note.
        """
        known = split_name(str(path))
        if known is not None:
            return list(pictures(*known).images), ""
        result = read(path, None if self.set is None else self.shape, on_error)
        return result.images, self._note(path, result.skipped, "are left out")

    @staticmethod
    def _note(path: str | Path, skipped: Sequence[tuple[str, str]], fate: str) -> str:
        return f"{path}: {len(skipped)} pictures {fate}; the first: {skipped[0][1]}" if skipped else ""

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare`."""
        prepare(path, data, trainer, self.set or "fashion_mnist", self.given)

    def evaluate(
        self,
        objects: Sequence[np.ndarray | None],
        reference: Sequence[np.ndarray] | None = None,
        label: str | int | None = None,
        judge: str | Path | Classifier | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """Classes, Frechet distance, precision and recall by the judge, pixels, memorisation; see `metrics.evaluate`.

        Args:
            objects: images, None = invalid.
            reference: real images; None is the test part of the set, of the wanted class where all samples have one.
            label: class wanted of all of them; None is what the file they were read from says, or the condition.
            judge: file of another classifier; None is that of the set.
            options: of `metrics.evaluate`; `training` is the shipped training part unless given.
        """
        one = judge if isinstance(judge, Classifier) else self.judge if judge is None else load(Path(judge))
        labels = options.pop("labels", None)
        if label is not None:
            labels = [class_number(label, one.classes if one else self.classes, self.name)] * len(objects)
        elif labels is None and self._read[0] is objects and self._read[1] is not None:
            labels = self._read[1]
        elif labels is None and self.wanted is not None:
            labels = [self.wanted] * len(objects)
        wanted = set() if labels is None else {int(number) for number in labels}
        if reference is None and self.set is not None:
            single = wanted.pop() if len(wanted) == 1 and min(wanted) >= 0 else None
            reference, options["reference_labels"] = self._pictures(single)
        if "training" not in options and self.set is not None:
            options["training"] = self.reference(split="train")
        return evaluate(objects, reference, judge=one, labels=labels, **options)

    def write(self, folder: Path, states: Tensor, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.npz and samples.png (a grid, pixel by pixel) into a folder; returns the file names.

        The npz has the valid images, uint8 (n, H, W) or (n, H, W, 3), the columns, `index` (the row of samples.csv)
        and, with a class as condition, `labels`.

        Args:
            folder: existing folder.
            states: (B, C, H, W).
            columns: numbers per sample.
        """
        images = self.decode(states)
        valid = [i for i, image in enumerate(images) if image is not None]
        if not valid:
            return []
        kept: dict[str, Any] = {key: [column[i] for i in valid] for key, column in columns.items()}
        if self.wanted is not None:
            kept["labels"] = np.full(len(valid), self.wanted)
        shown = [images[i] for i in valid]
        write_npz(folder / "samples.npz", np.stack(shown), {"index": valid, **kept})
        (folder / "samples.png").write_bytes(png(tiled(shown[:MOST_IN_GRID])))
        return ["samples.npz", "samples.png"]

    def table(self, states: Tensor) -> list[dict[str, Any]]:
        """One row a sample for samples.csv, see `tables.rows`."""
        return rows(states, self.decode(states), self.judge, self.wanted)

    def summary(self, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; see `tables.summary`."""
        judge = self.judge
        return summary(rows, values, judge.classes[self.wanted] if judge and self.wanted is not None else None)

    def figure(
        self,
        states: Tensor,
        values: Sequence[float],
        label: str,
        path: Path,
        most: int = 24,
        unguided: tuple[Tensor, Sequence[float]] | None = None,
    ) -> str | None:
        """The best distinct valid images with their rewards, beside the best unguided ones, or else real ones.

        Args:
            states, values: samples and their rewards, NaN for none.
            label: what the rewards are.
            path: file to write.
            most: images a grid.
            unguided: other samples and their rewards, for a second grid; None shows real images there.

        Returns:
            The file name; None without any valid image.
        """
        title = "guided" if unguided is not None else "samples"
        panels = [best(title, self.decode(states), values, label, most)]
        if unguided is not None:
            panels.append(best("unguided", self.decode(unguided[0]), unguided[1], label, most))
        elif self.set is not None:
            real = self.reference(self.wanted)
            shown = [real[i] for i in np.linspace(0, len(real) - 1, min(most, len(real))).round().astype(int)]
            panels.append(Panel(f"real ({SETS[self.set].title})", shown, [math.nan] * len(shown)))
        panels = [panel for panel in panels if panel.images]
        if not panels or not panels[0].title.startswith(title):
            return None
        grids(panels, path)
        return path.name
