"""Trains a prior of real-valued arrays from prepared data. Needs torch, lightning, numpy, safetensors and pyyaml only.

On a machine without the domain's libraries: `python -m guidekit.training.array_job folder/train.yaml`, with a folder
written by `guidekit train ... prepare=folder`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from guidekit.priors.descriptions import gaussian_process_from
from guidekit.training import loop
from guidekit.training.begin import begin, first_network
from guidekit.training.denoising import DenoisingModule
from guidekit.training.guided_losses import guided_loss
from guidekit.training.place import Place
from guidekit.training.regression import DenoisingError


def numbers(arrays: np.ndarray) -> np.ndarray:
    """Real numbers float32 of what is stored: bytes 0 to 255 and 16-bit integers become [-1, 1], floats stay."""
    if arrays.dtype == np.uint8:
        return arrays.astype(np.float32) / np.float32(127.5) - 1
    return arrays.astype(np.float32) / np.float32(32768 if arrays.dtype == np.int16 else 1)


class Arrays(IterableDataset):
    """Endless batches of stored arrays as real numbers, channels first, and labels.

    Args:
        images: (n, *S) or (n, *S, C), uint8, int16 or floats, see `numbers`; S is (H, W) for pictures, (T,) for
            waveforms.
        labels: (n, K) int or None.
        batch_size: states a batch.
        seed: of the order.
        batches: end after this many, in the order of the data; None runs for ever at random.
        axes: of a state, channels among them.
        first: batch to begin with; a batch depends on the seed and its number.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None,
        batch_size: int,
        seed: int,
        batches: int | None = None,
        axes: int = 3,
        first: int = 0,
    ) -> None:
        self.images = images[..., None] if images.ndim == axes else images
        self.labels, self.batch_size, self.seed, self.batches = labels, batch_size, seed, batches
        self.first = first

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches ((B, C, *S) float32, (B, K) int64 or None)."""
        for number in itertools.count(self.first) if self.batches is None else range(self.batches):
            if self.batches is None:
                rows = np.random.default_rng((self.seed, number)).integers(len(self.images), size=self.batch_size)
            else:
                rows = np.arange(number * self.batch_size, (number + 1) * self.batch_size) % len(self.images)
            yield (
                torch.from_numpy(numbers(self.images[rows])).movedim(-1, 1),
                None if self.labels is None else torch.from_numpy(self.labels[rows].astype(np.int64)),
            )


def fit(
    prepared: Mapping[str, np.ndarray], trainer: dict[str, Any], place: Place, init: str | None, seed: int
) -> dict[str, float] | None:
    """Train, keep a state for resuming and write the averaged weights.

    Args:
        prepared: images and val_images (see `Arrays`), labels (n, K), val_labels and description (JSON).
        trainer, place, init, seed: see `guidekit.training.token_job.fit`, also for what is returned and raised.
    """
    begun = begin(prepared, trainer, place, init, seed)
    if begun is None:
        return None
    data, description, made_from, done = begun
    made, size = trainer["network"], trainer["batch_size"]
    counts = [len(label["values"]) for label in description.get("labels", ())]
    options = {**made["options"], "channels": description["event_shape"][0]}
    options |= {"labels": counts} if counts else {}
    if made["name"] == "image_transformer":
        options["size"] = description["event_shape"][-1]
    sigma_data = round(float(numbers(data["images"][:10_000]).std()), 4)
    if made["name"] == "temporal_unet":
        options |= {"length": description["event_shape"][-1], "sigma_data": sigma_data}
    network = first_network(trainer, options, description["domain"], init, seed)
    description |= {
        "network": {"name": made["name"], "options": options},
        "process": trainer["process"],
        "parametrization": trainer["parametrization"],
        "sigma_data": sigma_data,
        "unit": "error",
    }
    levels = trainer["levels"] and tuple(trainer["levels"])
    plain = DenoisingError(gaussian_process_from(description), trainer["parametrization"], sigma_data, levels)
    objective = guided_loss(plain, trainer.get("guided"))
    settings = {key: trainer[key] for key in ("learning_rate", "warmup", "decay", "ema", "label_dropout")}
    module = DenoisingModule(network, objective, total_steps=trainer["steps"], seed=seed, **settings)
    held = max(1, len(data["val_images"]) // size)
    axes = len(description["event_shape"])
    train = Arrays(data["images"], data.get("labels"), size, seed, axes=axes, first=done)
    validation = Arrays(data["val_images"], data.get("val_labels"), size, 0, held, axes)
    loaders = (DataLoader(train, batch_size=None), DataLoader(validation, batch_size=None))
    return loop.run(module, loaders, trainer, place, made_from, done, description)


if __name__ == "__main__":
    sys.exit(loop.main(fit, sys.argv[1]))
