"""Trains a prior of real-valued arrays from prepared data. Needs torch, lightning, numpy, safetensors and pyyaml only.

On a machine without the domain's libraries: `python -m guidekit.training.array_job folder/train.yaml`, with a folder
written by `guidekit train ... prepare=folder`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from guidekit.networks import NETWORKS
from guidekit.priors.descriptions import gaussian_process_from
from guidekit.training import loop
from guidekit.training.denoising import DenoisingModule
from guidekit.training.guided_losses import guided_loss
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
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None,
        batch_size: int,
        seed: int,
        batches: int | None = None,
        axes: int = 3,
    ) -> None:
        self.images = images[..., None] if images.ndim == axes else images
        self.labels, self.batch_size, self.seed, self.batches = labels, batch_size, seed, batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches ((B, C, *S) float32, (B, K) int64 or None)."""
        rng, served = np.random.default_rng(self.seed), 0
        while self.batches is None or served < self.batches:
            rows = rng.integers(len(self.images), size=self.batch_size)
            if self.batches is not None:
                rows = np.arange(served * self.batch_size, (served + 1) * self.batch_size) % len(self.images)
            served += 1
            yield (
                torch.from_numpy(numbers(self.images[rows])).movedim(-1, 1),
                None if self.labels is None else torch.from_numpy(self.labels[rows].astype(np.int64)),
            )


def fit(
    prepared: Path, trainer: dict[str, Any], output: Path, init: str | None, resume: bool, seed: int
) -> dict[str, float]:
    """Train, keep `<output>.ckpt` for resuming and write the averaged weights to `output`.

    Args:
        prepared: npz with images and val_images (see `Arrays`), labels (n, K), val_labels and description (JSON).
        trainer, output, init, resume, seed: see `guidekit.training.token_job.fit`.

    Returns:
        see `guidekit.training.loop.run`.

    Raises:
        CheckpointError: nothing to resume, or `init` does not fit.
    """
    data = dict(np.load(prepared))
    description = json.loads(str(data["description"]))
    made, size = trainer["network"], trainer["batch_size"]
    counts = [len(label["values"]) for label in description.get("labels", ())]
    options = {**made["options"], "channels": description["event_shape"][0]}
    options |= {"labels": counts} if counts else {}
    if made["name"] == "image_transformer":
        options["size"] = description["event_shape"][-1]
    if trainer["threads"]:
        torch.set_num_threads(trainer["threads"])
    torch.manual_seed(seed)
    network = NETWORKS[made["name"]](**options)
    if init is not None:
        loop.start_from(network, init, description["domain"])
    sigma_data = round(float(numbers(data["images"][:10_000]).std()), 4)
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
    module = DenoisingModule(network, objective, total_steps=trainer["steps"], **settings)
    done = loop.updates_done(output.with_name(output.name + ".ckpt") if resume else None)
    held = max(1, len(data["val_images"]) // size)
    axes = len(description["event_shape"])
    train = Arrays(data["images"], data.get("labels"), size, seed + done, axes=axes)
    validation = Arrays(data["val_images"], data.get("val_labels"), size, 0, held, axes)
    loaders = (DataLoader(train, batch_size=None), DataLoader(validation, batch_size=None))
    return loop.run(module, loaders, trainer, output, resume, description)


def main(path: str) -> None:
    """Train as the YAML file of a prepared folder says; paths in it are relative to the folder."""
    import yaml

    config = yaml.safe_load(Path(path).read_text())
    folder = Path(path).parent
    rest = (config["init"], config["resume"], config["seed"])
    print(json.dumps(fit(folder / "prepared.npz", config["trainer"], folder / config["output"], *rest)))


if __name__ == "__main__":
    main(sys.argv[1])
