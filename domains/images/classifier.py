"""Classifiers of pictures: two a set, one for rewards and one that judges, made on different halves of the data.

    python -m guidekit.domains.images.classifier --set fashion_mnist --role judge --output judge.safetensors

trains one in minutes on one thread. What guidance has optimised must not be judged by the network it has optimised.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.errors import UnknownNameError
from guidekit.io.reading import refuse_classes, renumbered
from guidekit.priors.checkpoints import save_checkpoint

from .codec import encode, state_shape
from .data import SETS, pictures, split_name
from .files import read
from .judging import Classifier
from .network import ImageClassifier

ROLES: dict[str, dict[str, Any]] = {
    "reward": {"half": 0, "seed": 0, "noise": 0.1, "network": {"widths": [32, 64, 128]}},
    "judge": {
        "half": 1,
        "seed": 1,
        "noise": 0.0,
        "network": {"widths": [24, 48, 96], "kernel": 5, "activation": "relu", "pool": "max"},
    },
}
"""Which half of the data each classifier sees, its seed, the noise on its input and its architecture."""
EPOCHS = {"fashion_mnist": 11, "emoji": 60}
"""Passes over the half that the shipped classifiers were trained for."""


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    output: str | Path,
    role: str = "reward",
    epochs: int = 6,
    flips: bool = False,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    data: str = "",
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    made: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Train a classifier on its half of the images and write it in half precision.

    Cross-entropy with labels smoothed by .05, AdamW, one cycle of the learning rate, random shifts of up to 1 pixel,
    mirror images where `flips`, and for rewards Gaussian noise of a random size, so that gradients at blurred estimates
    are of use.

    Args:
        images: uint8 (n, H, W) or (n, H, W, 3).
        labels: (n,) class numbers; every second image of a random order (seed 0) is seen, which of them says the role.
        classes: names.
        output: safetensors file.
        role: "reward" or "judge", see `ROLES`.
        epochs: passes over the half.
        flips: mirror images, where left and right mean nothing.
        test: images and labels for the reported accuracy.
        data: what the images are, for the card.
        batch_size, learning_rate: of training.
        made: what the card says of the command that made it.

    Returns:
        images seen, seconds and test accuracy.

    Raises:
        UnknownNameError: no such role.
        ValueError: labels that no class has.
    """
    if role not in ROLES:
        raise UnknownNameError("role", str(role), ROLES)
    if epochs < 1:
        raise ValueError(f"epochs={epochs}; at least 1 pass is needed")
    if len(labels) != len(images) or labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(
            f"{len(images)} images with {len(labels)} labels from {labels.min()} to {labels.max()}; expected one each, "
            f"0 to {len(classes) - 1}"
        )
    asked, made = made, ROLES[role]
    generator = torch.Generator().manual_seed(made["seed"])
    rows = np.random.default_rng(0).permutation(len(images))[made["half"] :: 2]
    x, y = torch.from_numpy(images[rows]), torch.from_numpy(labels[rows].astype(np.int64))
    shape = state_shape(images[0])
    options = {"channels": shape[0], "classes": len(classes), "size": list(shape[1:]), **made["network"]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(made["seed"])
        network = ImageClassifier(**options)
    steps = max(1, len(x) // batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps)
    began = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for part in order.split(batch_size)[:steps]:
            states = encode(list(x[part].numpy()), shape)
            states = _augmented(states, generator, flips, made["noise"])
            loss = F.cross_entropy(network(states), y[part], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    report: dict[str, float] = {"images": len(x), "epochs": epochs, "seconds": round(time.perf_counter() - began)}
    if test is not None:
        judge = Classifier(network, shape, classes, {}, role)
        states, truth = encode(list(test[0]), shape), torch.from_numpy(test[1].astype(np.int64))
        found = judge.probabilities(states).argmax(1)
        report |= {"test images": len(truth), "test accuracy": round(float((found == truth).double().mean()), 4)}
    card = {"data": data, **report, "role": role, "half": made["half"], "seed": made["seed"], "noise": made["noise"]}
    if asked is not None:
        card["training"] = dict(asked)
    description = {
        "domain": "images",
        "kind": "classifier",
        "network": {"name": "image_classifier", "options": options},
        "event_shape": list(shape),
        "classes": list(classes),
        "card": card,
    }
    save_checkpoint(output, network, description)
    return report


def train_on(
    source: str, kind: str | None, trainer: Mapping[str, Any], output: Path, made: Mapping[str, Any]
) -> dict[str, float]:
    """Train a classifier on data of a user's own, of which a share is held out.

    Args:
        source: npz with labels, folder with sub-folders, or a shipped set such as "emoji:variants".
        kind: shipped set that the data are of; None takes their own classes.
        trainer: settings of configs/trainer/judge.yaml.
        output: file to write.
        made: see `train_classifier`.

    Raises:
        ValueError: unreadable data, no labels, fewer than two classes, or too few images.
    """
    shipped = split_name(source)
    if shipped is not None:
        images, labels, _ = pictures(*shipped)
        title, classes = SETS[shipped[0]].title, SETS[shipped[0]].classes
    elif kind is not None:
        images, labels, title = training_data(kind, source)
        classes = SETS[kind].classes
    else:
        found = read(source)
        if found.labels is None:
            raise ValueError(
                f"{source} has no labels; sub-folders named after classes, or the array labels, are needed"
            )
        images, labels, title = np.stack(found.images), found.labels, Path(source).name
        classes = found.classes or tuple(map(str, range(int(labels.max()) + 1)))
    known = labels >= 0
    images, labels = images[known], labels[known]
    held = round(trainer["held_out"] * len(images))
    if len(set(labels.tolist())) < 2 or len(images) - held < 4 or held < 1:
        raise ValueError(
            f"{source}: {len(images)} labelled images of {len(set(labels.tolist()))} classes, of which {held} would be "
            "held out; a judge needs two classes, four images and one held out at least"
        )
    order = np.random.default_rng(1).permutation(len(images))
    rest, test = order[held:], order[:held]
    options = {key: trainer[key] for key in ("role", "epochs", "batch_size", "learning_rate")}
    options["batch_size"] = min(options["batch_size"], max(1, len(rest) // 4))
    flips = (shipped[0] if shipped else kind) == "emoji"
    tested = (images[test], labels[test])
    return train_classifier(
        images[rest], labels[rest], classes, output, flips=flips, test=tested, data=title, made=made, **options
    )


def _augmented(states: Tensor, generator: torch.Generator, flips: bool, noise: float) -> Tensor:
    """States shifted by up to 1 pixel (one shift a batch), half of them mirrored, with noise of std 0 to `noise`."""
    padded = F.pad(states, (1, 1, 1, 1), mode="replicate")
    top, left = torch.randint(3, (2,), generator=generator).tolist()
    states = padded[:, :, top : top + states.shape[2], left : left + states.shape[3]]
    if flips:
        mirrored = torch.rand(len(states), 1, 1, 1, generator=generator) < 0.5
        states = torch.where(mirrored, states.flip(3), states)
    if noise:
        size = noise * torch.rand(len(states), 1, 1, 1, generator=generator)
        states = states + size * torch.randn(states.shape, generator=generator)
    return states


def main(arguments: list[str] | None = None) -> None:
    """Command line, see `python -m guidekit.domains.images.classifier --help`."""
    parser = argparse.ArgumentParser(description="train a classifier of images for rewards or as a judge")
    parser.add_argument("--set", default="fashion_mnist", choices=SETS, help="shipped set")
    parser.add_argument("--data", help="npz or folder with labels to train on; default: what ships with the package")
    parser.add_argument("--role", default="reward", choices=ROLES)
    parser.add_argument("--epochs", type=int, help="passes over its half; default: that of the shipped ones")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", required=True, help="safetensors file to write")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    epochs = EPOCHS[given.set] if given.epochs is None else given.epochs
    options = dict(role=given.role, epochs=epochs, flips=given.set == "emoji")
    try:
        images, labels, title = training_data(given.set, given.data)
        test, classes = pictures(given.set, "test")[:2], SETS[given.set].classes
        report = train_classifier(images, labels, classes, given.output, test=test, data=title, **options)
    except ValueError as error:
        parser.error(str(error))
    print(json.dumps(report))


def training_data(kind: str, source: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Images, their class numbers in the set, and a title: of a file or folder, or the shipped training part.

    Raises:
        ValueError: unreadable data, no labels, or a class that the set does not have.
    """
    one = SETS[kind]
    if source is None:
        images, labels, _ = pictures(kind)
        return images, labels, f"{one.title}, shipped training part"
    found = read(source, one.shape)
    if found.labels is None:
        raise ValueError(f"{source} has no labels; sub-folders named after classes, or the array labels, are needed")
    refuse_classes(found.classes, one.classes, f"class of {kind}")
    labels = renumbered(found.labels, found.classes, one.classes) if found.classes else found.labels
    return np.stack(found.images), labels, f"{one.title}, {Path(source).name}"


if __name__ == "__main__":
    main()
