"""Training data of image priors: arrays, labels, and the description of the future checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.io.reading import refuse_classes, refuse_labels, renumbered

from .codec import state_shape
from .data import SETS, pictures, split_name
from .files import read


def prepare(path: Path, data: str | None, trainer: Mapping[str, Any], kind: str, given: bool = True) -> None:
    """Write what `guidekit.training.array_job` trains an image prior from.

    The npz has images and val_images, uint8 (n, H, W) or (n, H, W, 3), and a description (JSON) with domain,
    event_shape, dataset and card; where the data have classes also labels and val_labels, int (n, 1), and the label
    "class" in the description. Images are shuffled (seed 0), the last ones are held out.

    Args:
        path: npz file to write.
        data: what `files.read` accepts, or "fashion_mnist", "emoji" or "emoji:variants" (with all skin tones); None is
            the training part of `kind`.
        trainer: settings of configs/trainer/images.yaml; `validation` images are held out.
        kind: shipped set.
        given: the user named the set: data of a file are of it, with its shape and class names.

    Raises:
        UnknownNameError: a class that the set does not have.
        ValueError: unreadable data, labels that no class has, or fewer than ten times as many images as are to be held
            out.
    """
    source = data or kind
    shipped = split_name(source)
    if shipped:
        kind, split = shipped
        images, numbered, _ = pictures(kind, split)
        labels: np.ndarray | None = numbered
        dataset, title, classes = kind, SETS[kind].title, SETS[kind].classes
    else:
        found = read(source, SETS[kind].shape if given else None)
        images, labels = np.stack(found.images), found.labels
        dataset = kind if given else Path(source).stem
        title = f"{SETS[kind].title}, {Path(source).name}" if given else Path(source).name
        classes = found.classes
        if given and labels is not None and classes:  # they may be in another order, or fewer
            refuse_classes(classes, SETS[kind].classes, f"class of {kind}")
            labels = renumbered(labels, classes, SETS[kind].classes)
        classes = SETS[kind].classes if given else classes
        if labels is not None:
            classes = classes or tuple(map(str, range(labels.max() + 1)))
            refuse_labels(str(source), labels, len(classes))
    order, held = np.random.default_rng(0).permutation(len(images)), trainer["validation"]
    if len(images) < 10 * held:
        raise ValueError(
            f"{len(images):,} images are too few to hold out trainer.validation={held} of them; hold out at most "
            f"{len(images) // 10}"
        )
    train, validation = order[: len(order) - held], order[len(order) - held :]
    description: dict[str, Any] = {
        "domain": "images",
        "event_shape": list(state_shape(images[0])),
        "dataset": dataset,
        "card": {"data": f"{title}, {len(train):,} images"},
    }
    arrays: dict[str, Any] = {"images": images[train], "val_images": images[validation]}
    if labels is not None:
        description["labels"] = [{"name": "class", "values": list(classes)}]
        numbers = labels[:, None].astype(np.int16)
        arrays |= {"labels": numbers[train], "val_labels": numbers[validation]}
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, description=np.array(json.dumps(description)), **arrays)
    os.replace(part, path)
