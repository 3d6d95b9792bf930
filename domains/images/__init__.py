"""Pictures in [-1, 1]: Fashion-MNIST and emoji, rewards with gradients, a judge of its own, metrics, grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from torch import Tensor

from guidekit.classes import class_names, class_number, condition_class, condition_classes
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.errors import UnknownNameError
from guidekit.examples import Example
from guidekit.extras import require
from guidekit.io.files import write_npz
from guidekit.io.reading import note, renumbered
from guidekit.objectives.restoration import RESTORATION
from guidekit.priors.adapters.latents import LatentCodec
from guidekit.reporting.panels import Layout, Panel, best, draw, spread
from guidekit.reporting.summary import ranked
from guidekit.samples import Dataset, Samples

from . import codec
from .codec import ImageCodec, ImageError
from .data import ASSETS, SETS, pictures, split_name
from .files import MOST_IN_GRID, png, read, tiled, write_folder
from .judging import Classifier, load, shipped
from .metrics import evaluate
from .preparation import prepare
from .rewards import REWARDS, ImageModel
from .tables import rows, summary

FIRST = "fashion_mnist"
"""The set that is meant where none is named."""
LAYOUT = Layout(columns=6, size=(0.78, 0.78), shades={"cmap": "gray", "vmin": 0, "vmax": 255})


class About(NamedTuple):
    """What a prior, or its absence, says of images.

    Attributes:
        set: the shipped set that they are compared with; None for a prior of other data.
        shape: (C, H, W) of states.
        classes: what a condition may name, in the order of their numbers.
    """

    set: str | None
    shape: tuple[int, int, int]
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Images(Domain):
    """Pictures as real numbers (B, C, H, W) in [-1, 1]; objects are uint8 arrays (H, W) or (H, W, 3).

    Args:
        set: "fashion_mnist" (28 x 28, grey) or "emoji" (32 x 32, RGB); None is the set of the prior, or Fashion-MNIST
            without one. With a prior of other data there is no reference, and no judge but a given one.
        judge: file of another classifier that judges, see `classifier.train_classifier`; None is that of the set.

    Raises:
        UnknownNameError: no such set.
        CheckpointError: the judge is missing, damaged, or no classifier.
        MissingExtraError: a library of the extra is not installed.
    """

    set: str | None = None
    judge: str | Path | None = None
    name = "images"
    objects = "images"
    suffix = ".png"
    assets = ASSETS
    kinds = REWARDS
    tasks = RESTORATION
    job = "array_job"
    network = ImageModel

    def __post_init__(self) -> None:
        """Refuse what is no set or no judge, and a lack of libraries."""
        if self.set is not None and self.set not in SETS:
            raise UnknownNameError("set of images", str(self.set), SETS)
        for module in ("PIL", "matplotlib"):  # say so now, not after an hour of sampling
            require(self.name, module)
        if self.judge is not None:
            load(Path(self.judge))

    def examples(self) -> Sequence[Example]:
        """See `Domain.examples`."""
        from .examples import EXAMPLES

        return EXAMPLES

    @property
    def default(self) -> str:
        """The shipped prior that "default" stands for: that of the set."""
        return self.set or FIRST

    def about(self, prior: Prior | None = None) -> About:
        """Set, shape and classes of a prior, or of the set without one."""
        if prior is None:
            kind = SETS[self.default]
            return About(self.default, kind.shape, kind.classes)
        shape = cast(tuple[int, int, int], tuple(getattr(prior.codec, "shape", prior.event_shape)))
        same = prior.dataset in SETS and SETS[prior.dataset].shape == shape  # data of the user's own may have the name
        return About(self.set or (prior.dataset if same else None), shape, class_names(prior))

    @property
    def codec(self) -> ImageCodec:
        """Of pictures of the set."""
        return ImageCodec(self.about().shape)

    def codec_for(self, prior: Prior, description: Mapping[str, Any]) -> ImageCodec:
        """See `Domain.codec_for`; `set` and `judge`, where given, must be those of the prior."""
        shape, made = cast(tuple[int, int, int], tuple(prior.event_shape)), prior.dataset
        if self.set is not None and made in SETS and made != self.set:
            raise ValueError(f"{prior.name} was trained on {made}, not on domain.set={self.set}; leave domain.set out")
        if self.set is not None and shape != SETS[self.set].shape:
            wanted = SETS[self.set].shape
            raise ValueError(f"{prior.name} is of states {shape}, domain.set={self.set} of {wanted}; leave it out")
        if self.judge is not None and load(Path(self.judge)).shape != shape:
            raise ValueError(f"{prior.name} is of states {shape}, domain.judge of {load(Path(self.judge)).shape}")
        if shape[0] not in codec.KINDS:
            raise ImageError(
                f"{prior.name} is of states {shape}, and pictures have 1 or 3 channels; latents need their "
                "autoencoder, an AutoencoderKL in the folder vae"
            )
        return ImageCodec(shape)

    def classifier(self, prior: Prior | None = None) -> Classifier | None:
        """The classifier that judges images (of a prior): the given one, or that of the set; none for other data."""
        files = self.judges(prior)
        return load(files[0]) if files else None

    def judges(self, prior: Prior | None = None) -> list[Path]:
        """See `Domain.judges`."""
        kind = self.about(prior).set
        path = Path(self.judge) if self.judge else None if kind is None else shipped(kind, "judge")
        return [path] if path is not None and (self.judge or path.is_file()) else []

    def reference(
        self, label: str | int | None = None, *, split: str = "test", prior: Prior | None = None
    ) -> list[np.ndarray]:
        """Real images of the set, of one of its classes where a label is given; none for a prior of other data."""
        return _pictures(self.about(prior).set, label, split)[0]

    def read_samples(self, path: str | Path, column: str | None = None, prior: Prior | None = None) -> Dataset:
        """Generated images of an npz, a folder or a picture, None for damaged ones.

        The class wanted of each is the array `labels` of a run's samples.npz.
        """
        if column is not None:
            raise ValueError(f"column={column!r} is for tables; images are read from an npz, a folder or a picture")
        result = read(path, self._shape(prior), on_error="skip")
        if not result.images:
            raise ValueError(f"{path}: none of {len(result.skipped)} files is an image: {result.skipped[0][1]}")
        labels = None if result.labels is None else [*result.labels.tolist(), *[-1] * len(result.skipped)]
        told = note(path, result.skipped, "count as invalid", "pictures", result.notes)
        return Dataset([*result.images, *[None] * len(result.skipped)], labels, result.classes, notes=told)

    def read_reference(self, path: str | Path, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """Real images: an npz, a folder, a picture, or a shipped set such as "emoji", "fashion_mnist:test".

        With on_error "skip" bad pictures are left out, with a note.
        """
        known = split_name(str(path))
        if known is not None:
            return Dataset(list(pictures(*known).images))
        result = read(path, self._shape(prior), on_error)
        return Dataset(result.images, notes=note(path, result.skipped, "are left out", "pictures", result.notes))

    def read_values(self, path: str | Path, shape: tuple[int, ...]) -> Tensor:
        """See `Domain.read_values`: pixels in [0, 1] of pictures of another size than states."""
        return ImageCodec.units.values(codec.encode(read(path, shape).images, shape))

    def _shape(self, prior: Prior | None) -> tuple[int, int, int] | None:
        """What files must have; None is any."""
        if prior is None and self.set is None:
            return None
        about = self.about(prior)
        return None if about.set is None else about.shape

    def _about(self, prior: Prior | None, objects: Sequence[np.ndarray | None]) -> About:
        """What is said of images: of no shipped set where nothing names one and they are of another size."""
        about, found = self.about(prior), next((one for one in objects if one is not None), None)
        if found is None or prior is not None or self.set is not None:
            return about
        shape = codec.state_shape(codec.check(found))
        return about if shape == about.shape else About(None, shape, ())

    def train_judge(
        self, data: str, trainer: Mapping[str, Any], output: Path, made: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See `Domain.train_judge` and `classifier.train_on`."""
        from .classifier import train_on

        return train_on(data, self.set, trainer, output, made)

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare`."""
        prepare(path, data, trainer, self.default, self.set is not None)

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
        judge: str | Path | Classifier | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """Classes, distances, precision and recall by the judge, pixels, memorisation; see `metrics.evaluate`.

        Args:
            objects: images, None = invalid; a `Dataset` may name the class wanted of each.
            reference: real images; None is the test part of the set, of the wanted class where all samples have one.
            training: images trained on; None is the training part of the set, an empty sequence none.
            prior, condition, labels: see `Domain.evaluate`.
            label: class wanted of all of them; None is what labels, the file they were read from, or the condition say.
            judge: another classifier, or its file; None is that of the domain.
            options: of `metrics.evaluate`.

        Raises:
            ValueError: `paired` without a reference, or with files among the samples that could not be read.
        """
        about = self._about(prior, objects)
        given = self.judge if judge is None else judge
        if given is None and about.set is None:
            one = None
        else:
            one = (
                self.classifier(prior)
                if given is None
                else given
                if isinstance(given, Classifier)
                else load(Path(given))
            )
        if one is not None and one.shape != about.shape:
            raise ValueError(
                f"the judge is of images {one.shape}, and these are {about.shape}: give another domain.judge="
            )
        names, said = one.classes if one else about.classes, objects if isinstance(objects, Dataset) else None
        if options.get("paired") and reference is None:
            raise ValueError("domain.paired=true compares each sample with its own truth: give reference=")
        if options.get("paired") and said and any(image is None for image in said):
            raise ValueError(
                "domain.paired=true: a file among the samples cannot be read, so no one knows what pairs are"
            )
        wanted = _named(condition, about.classes)
        if label is not None:
            labels = [class_number(label, names, f"class of {one.name if one else self.name}")] * len(objects)
        elif labels is None and said and said.labels is not None:
            labels = renumbered(np.asarray(said.labels), said.classes, names).tolist() if said.classes else said.labels
        elif labels is None and wanted in names:
            labels = [names.index(wanted)] * len(objects)
        if reference is None and about.set is not None:
            asked = set() if labels is None else {names[i] if 0 <= i < len(names) else None for i in labels}
            reference, numbers = _pictures(about.set, _known(about.set, asked.pop()) if len(asked) == 1 else None)
            options["reference_labels"] = renumbered(numbers, SETS[about.set].classes, names)
        if training is None and about.set is not None:
            training = self.reference(split="train", prior=prior)
        return evaluate(list(objects), reference, training=training or None, judge=one, labels=labels, **options)

    def write(self, folder: Path, samples: Samples, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.npz and samples.png (a grid, pixel by pixel) into a folder; returns the file names.

        The npz has the valid images, uint8 (n, H, W) or (n, H, W, 3), the columns, `index` (the row of samples.csv)
        and, with a class as condition, `labels` and the names they count, `classes`.
        """
        images, classes = samples.objects, self.about(samples.prior).classes
        valid = [i for i, image in enumerate(images) if image is not None]
        if not valid:
            return []
        kept: dict[str, Any] = {key: [column[i] for i in valid] for key, column in columns.items()}
        wanted = condition_classes(samples.condition, classes, len(images))
        if any(number is not None for number in wanted):
            numbers = [-1 if wanted[i] is None else wanted[i] for i in valid]
            kept |= {"labels": np.array(numbers), "classes": classes}
        shown = [images[i] for i in valid]
        write_npz(folder / "samples.npz", {"images": np.stack(shown), "index": valid, **kept})
        (folder / "samples.png").write_bytes(png(tiled(shown[:MOST_IN_GRID])))
        return ["samples.npz", "samples.png"]

    def wanted(self, samples: Samples) -> str | None:
        """The class that samples were made to show."""
        return _named(samples.condition, self.about(samples.prior).classes)

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """One row a sample for samples.csv, see `tables.rows`."""
        classes = self.about(samples.prior).classes
        numbers = condition_classes(samples.condition, classes, len(samples))
        names = [None if number is None else classes[number] for number in numbers]
        return rows(_pixels(samples), samples.objects, self.classifier(samples.prior), names)

    def summary(
        self, rows: Sequence[Mapping[str, Any]], values: Sequence[float], samples: Samples | None = None
    ) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; see `tables.summary`."""
        return summary(rows, values, None if samples is None else self.wanted(samples))

    def figure(
        self,
        samples: Samples,
        values: Sequence[float],
        label: str,
        path: Path,
        most: int = 24,
        *,
        unguided: tuple[Samples, Sequence[float]] | None = None,
        objective: Objective | None = None,
    ) -> str | None:
        """The best distinct valid images with their rewards, beside the best unguided ones, or else real ones.

        Args:
            samples, values, label, path, unguided, objective: see `Domain.figure`.
            most: images a grid.
        """

        def panel(title: str, samples: Samples, values: Sequence[float]) -> Panel:
            found = ranked(samples.objects, values, lambda image: None if image is None else image.tobytes())
            return best(title, found, len(values), label, most, np.asarray)

        guided = panel("samples" if unguided is None else "guided", samples, values)
        if not guided.pictures:
            return None
        if unguided is not None:
            beside = panel("unguided", *unguided)
        else:
            kind = self.about(samples.prior).set
            real = self.reference(_known(kind, self.wanted(samples)), prior=samples.prior)
            beside = spread(f"real ({SETS[kind].title})" if kind and real else "", real, most, np.asarray)
        draw([guided, beside], LAYOUT, path)
        return path.name


def _pixels(samples: Samples) -> Tensor:
    """States (B, C, H, W), or what latents decode to."""
    codec: Any = samples.prior.codec
    return codec.autoencoder.decode(samples.states).detach() if isinstance(codec, LatentCodec) else samples.states


def _named(condition: Any, classes: Sequence[str]) -> str | None:
    """The class that a condition names."""
    number = condition_class(condition, classes)
    return None if number is None else classes[number]


def _known(kind: str | None, name: str | None) -> str | None:
    """A class's name where a set has it."""
    return name if kind is not None and name in SETS[kind].classes else None


def _pictures(
    kind: str | None, label: str | int | None = None, split: str = "test"
) -> tuple[list[np.ndarray], np.ndarray]:
    """Real images of a set, of one class where a label is given, and the numbers of their classes."""
    if kind is None:
        return [], np.zeros(0, np.int64)
    images, labels, _ = pictures(kind, split)
    number = None if label is None else class_number(label, SETS[kind].classes, f"class of {kind}")
    keep = slice(None) if number is None else labels == number
    return list(images[keep]), labels[keep]
