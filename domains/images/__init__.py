"""Pictures in [-1, 1]: Fashion-MNIST and emoji, rewards with gradients, a judge of its own, metrics, grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from guidekit.classes import class_names, class_number, condition_class
from guidekit.domain import Domain, require
from guidekit.evaluation.panels import Layout, Panel, best, draw, spread
from guidekit.evaluation.summary import ranked
from guidekit.files import write_npz
from guidekit.names import UnknownNameError
from guidekit.objectives import ObjectReward
from guidekit.objectives.of_states import StateReward, state_reward
from guidekit.priors.checkpoints import read_description
from guidekit.reading import note, renumbered

from . import codec
from .codec import ImageError
from .data import ASSETS, SETS, pictures, split_name
from .files import MOST_IN_GRID, png, read, tiled, write_folder
from .judging import Classifier, load, shipped
from .metrics import evaluate
from .preparation import prepare
from .rewards import REWARDS, ImageModel
from .tables import rows, summary

LAYOUT = Layout(columns=6, size=(0.78, 0.78), shades={"cmap": "gray", "vmin": 0, "vmax": 255})


class Images(Domain):
    """Pictures as real numbers (B, C, H, W) in [-1, 1]; objects are uint8 arrays (H, W) or (H, W, 3).

    Args:
        set: "fashion_mnist" (28 x 28, grey) or "emoji" (32 x 32, RGB); None is the set of the prior loaded last, or
            Fashion-MNIST. With a prior of other data there is no reference, and no judge but a given one.
        judge: file of another classifier that judges, see `classifier.train_classifier`; None is that of the set.

    Raises:
        UnknownNameError: no such set.
        CheckpointError: the judge is missing, damaged, or no classifier.
        MissingExtraError: a library of the extra is not installed.
    """

    name = "images"
    objects = "images"
    suffix = ".png"
    assets = ASSETS
    kinds = REWARDS
    settings = ("set", "judge")
    job = "array_job"
    shows_unguided = True
    judges_labels = True

    def __init__(self, set: str | None = None, judge: str | Path | None = None) -> None:
        if set is not None and set not in SETS:
            raise UnknownNameError("set of images", str(set), SETS)
        for module in ("PIL", "matplotlib"):  # say so now, not after an hour of sampling
            require(self.name, module)
        self.set: str | None = set or "fashion_mnist"
        self.given = set is not None
        self.shape, self.classes = SETS[self.set].shape, SETS[self.set].classes
        self.wanted: int | None = None
        self._judge = None if judge is None else Path(judge)
        if self._judge is not None:
            load(self._judge)
        self._read: tuple[Any, np.ndarray | None, tuple[str, ...]] = (None, None, ())

    @property
    def default(self) -> str:
        """The shipped prior that "default" stands for: that of the set."""
        return self.set or "default"

    def load_prior(self, name: str = "default") -> Any:
        """A shipped prior ("default" is that of the set), a file or a folder of diffusers; sets set and shape.

        Raises:
            CheckpointError: missing, truncated, or of another domain.
            UnknownNameError: neither a shipped prior nor a file.
            ValueError: a prior of another set or of another shape than the domain, or its judge, was made for.
        """
        from guidekit.priors.checkpoints import load_gaussian_prior

        path = self.checkpoint(name)
        prior = load_gaussian_prior(path, self.name)
        made = None if path.is_dir() else read_description(path, self.name).get("dataset")
        shape = tuple(prior.event_shape)
        if self.given and made in SETS and made != self.set:
            raise ValueError(f"prior {name} was trained on {made}, not on domain.set={self.set}; leave domain.set out")
        if self.given and shape != self.shape:
            raise ValueError(f"prior {name} is of states {shape}, domain.set={self.set} of {self.shape}; leave it out")
        if self._judge is not None and load(self._judge).shape != shape:
            raise ValueError(f"prior {name} is of states {shape}, domain.judge of {load(self._judge).shape}")
        if not self.given:  # data of the user's own may have the name of a set
            self.set = made if made in SETS and SETS[made].shape == shape else None
        self.shape, self.classes = shape, class_names(prior)
        return prior

    def encode(self, objects: Sequence[np.ndarray]) -> Tensor:
        """Images to states (B, C, H, W); ImageError for other sizes, channels or numbers."""
        return codec.encode(objects, self.shape)

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """States to images, None where a number is not finite."""
        return codec.decode(states, self.shape)

    def bind(self, function: Callable, name: str | None = None, **options: Any) -> StateReward | ObjectReward:
        """A reward of states from a function of an image; rewards of states and torch modules are taken as they are."""
        found = state_reward(function, ImageModel)
        if found is None:
            return super().bind(function, name, **options)
        found.refuse_shape(self.shape)
        return found

    def compare_with(self, condition: Any) -> None:
        """Samples of one class are judged by whether they show it, and compared with real images of it."""
        self.wanted = condition_class(condition, self.classes)

    @property
    def wanted_name(self) -> str | None:
        """The class that samples are to show."""
        return None if self.wanted is None else self.classes[self.wanted]

    @property
    def judge(self) -> Classifier | None:
        """The classifier that judges images: the given one, or that of the set; none for other data."""
        files = self.judges()
        return load(files[0]) if files else None

    def judges(self) -> list[Path]:
        """See `Domain.judges`."""
        path = self._judge or (None if self.set is None else shipped(self.set, "judge"))
        return [path] if path is not None and (self._judge or path.is_file()) else []

    def reference(self, label: str | int | None = None, split: str = "test") -> list[np.ndarray]:
        """Real images of the set, of one of its classes where a label is given; none for a prior of other data."""
        return self._pictures(label, split)[0]

    def _pictures(self, label: str | int | None = None, split: str = "test") -> tuple[list[np.ndarray], np.ndarray]:
        """See `reference`; with the numbers of their classes in the set."""
        if self.set is None:
            return [], np.zeros(0, np.int64)
        images, labels, _ = pictures(self.set, split)
        number = None if label is None else class_number(label, SETS[self.set].classes, f"class of {self.set}")
        keep = slice(None) if number is None else labels == number
        return list(images[keep]), labels[keep]

    def _known(self, name: str | None) -> str | None:
        """A class's name where the set has it."""
        return name if self.set is not None and name in SETS[self.set].classes else None

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
        if labels is not None:
            labels = np.concatenate([labels, np.full(len(result.skipped), -1)])
        self._read = (objects, labels, result.classes)
        return objects, note(path, result.skipped, "count as invalid", "pictures")

    def read_reference(self, path: str | Path, on_error: str = "raise") -> tuple[list[np.ndarray], str]:
        """Real images: an npz, a folder, a picture, or a shipped set such as "emoji", "fashion_mnist:test".

        With on_error "skip" bad pictures are left out, with a note.
        """
        known = split_name(str(path))
        if known is not None:
            return list(pictures(*known).images), ""
        result = read(path, None if self.set is None else self.shape, on_error)
        return result.images, note(path, result.skipped, "are left out", "pictures")

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
        """Classes, distances, precision and recall by the judge, pixels, memorisation; see `metrics.evaluate`.

        Args:
            objects: images, None = invalid.
            reference: real images; None is the test part of the set, of the wanted class where all samples have one.
            label: class wanted of all of them; None is what the file they were read from says, or the condition.
            judge: another classifier, or its file; None is that of the domain.
            options: of `metrics.evaluate`; `training` is the shipped training part unless given.

        Raises:
            ValueError: `paired` without a reference, or with files among the samples that could not be read.
        """
        one = self.judge if judge is None else judge if isinstance(judge, Classifier) else load(Path(judge))
        names = one.classes if one else self.classes
        same = self._read[0] is objects
        if options.get("paired") and reference is None:
            raise ValueError("domain.paired=true compares each sample with its own truth: give reference=")
        if options.get("paired") and same and any(image is None for image in objects):
            raise ValueError(
                "domain.paired=true: a file among the samples cannot be read, so no one knows what pairs are"
            )
        labels = options.pop("labels", None)
        if label is not None:
            labels = [class_number(label, names, f"class of {one.name if one else self.name}")] * len(objects)
        elif labels is None and same and self._read[1] is not None:
            _, labels, named = self._read
            labels = renumbered(labels, named, names) if named else labels
        elif labels is None and self.wanted_name in names:
            labels = [names.index(self.wanted_name)] * len(objects)
        if reference is None and self.set is not None:
            wanted = set() if labels is None else {names[i] if 0 <= i < len(names) else None for i in labels}
            reference, numbers = self._pictures(self._known(wanted.pop()) if len(wanted) == 1 else None)
            options["reference_labels"] = renumbered(numbers, SETS[self.set].classes, names)
        if "training" not in options and self.set is not None:
            options["training"] = self.reference(split="train")
        return evaluate(objects, reference, judge=one, labels=labels, **options)

    def write(self, folder: Path, states: Tensor, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.npz and samples.png (a grid, pixel by pixel) into a folder; returns the file names.

        The npz has the valid images, uint8 (n, H, W) or (n, H, W, 3), the columns, `index` (the row of samples.csv)
        and, with a class as condition, `labels` and the names they count, `classes`.

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
            kept |= {"labels": np.full(len(valid), self.wanted), "classes": self.classes}
        shown = [images[i] for i in valid]
        write_npz(folder / "samples.npz", {"images": np.stack(shown), "index": valid, **kept})
        (folder / "samples.png").write_bytes(png(tiled(shown[:MOST_IN_GRID])))
        return ["samples.npz", "samples.png"]

    def table(self, states: Tensor) -> list[dict[str, Any]]:
        """One row a sample for samples.csv, see `tables.rows`."""
        return rows(states, self.decode(states), self.judge, self.wanted_name)

    def summary(self, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; see `tables.summary`."""
        return summary(rows, values, self.wanted_name)

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

        def panel(title: str, states: Tensor, values: Sequence[float]) -> Panel:
            found = ranked(self.decode(states), values, lambda image: None if image is None else image.tobytes())
            return best(title, found, len(values), label, most, np.asarray)

        guided = panel("samples" if unguided is None else "guided", states, values)
        if not guided.pictures:
            return None
        if unguided is not None:
            beside = panel("unguided", *unguided)
        else:
            real = self.reference(self._known(self.wanted_name))
            beside = spread(f"real ({SETS[self.set].title})" if real else "", real, most, np.asarray)
        draw([guided, beside], LAYOUT, path)
        return path.name
