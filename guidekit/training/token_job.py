"""Trains a token prior from prepared data. Needs torch, lightning, numpy, safetensors and pyyaml only.

On a machine without the domain's libraries: `python -m guidekit.training.token_job folder/train.yaml`, with a folder
written by `guidekit train ... prepare=folder`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset

from guidekit.priors.descriptions import process_from
from guidekit.processes import Masked
from guidekit.training import loop
from guidekit.training.begin import begin, first_network
from guidekit.training.denoising import DenoisingModule
from guidekit.training.objectives import MaskedLikelihood, objective_for
from guidekit.training.place import Place
from guidekit.training.sequences import POOL, BucketedSequences, Windows


def save_prepared(path: Path, train: tuple, validation: tuple, description: dict[str, Any]) -> None:
    """Ragged token arrays and the description of the future checkpoint, in one npz file.

    Args:
        path: file to write.
        train, validation: (tokens (T,), offsets (n + 1,)) and, for a conditional prior, labels (n, K).
        description: see `guidekit.priors.checkpoints.save_checkpoint`; "window" and "complement" ask for windows at
            random places of the sequences instead of whole ones.
    """
    arrays: dict[str, Any] = {"description": np.array(json.dumps(description))}
    for prefix, given in (("", train), ("val_", validation)):
        arrays |= {prefix + name: value for name, value in zip(("tokens", "offsets", "labels"), given, strict=False)}
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(part, path)


def fit(
    prepared: Mapping[str, np.ndarray], trainer: dict[str, Any], place: Place, init: str | None, seed: int
) -> dict[str, float] | None:
    """Train, keep a state for resuming and write the averaged weights.

    Args:
        prepared: what `save_prepared` wrote, as numpy loads it.
        trainer: settings, see configs/trainer/.
        place: of the files; what is there decides whether the training begins, goes on or is done.
        init: checkpoint whose weights to start from.
        seed: of weights, data order and masks.

    Returns:
        updates done, molecules seen, seconds of this session and validation loss (nats); None where nothing was left
        to do.

    Raises:
        OutputError: see `guidekit.training.place.Place.standing`.
        CheckpointError: `init` does not fit.
        Stopped: by a signal.
    """
    begun = begin(prepared, trainer, place, init, seed)
    if begun is None:
        return None
    data, description, made_from, done = begun
    made = trainer["network"]
    if trainer.get("process"):
        description["process"] = trainer["process"]
    if trainer.get("parametrization"):
        description["parametrization"] = trainer["parametrization"]
    if (description.get("process") or {}).get("name") == "marginal" and not description["process"].get("options"):
        law = np.bincount(data["tokens"], minlength=description["vocab_size"]).tolist()
        description["process"] = {**description["process"], "options": {"law": law}}
    process = process_from(description)
    counts = [len(label["values"]) for label in description.get("labels", ())]
    if counts and not description.get("window"):
        description["label_lengths"] = label_lengths(data, counts, len(description["length_counts"]))
    parametrization = description.get("parametrization", "clean")
    timed = not isinstance(process, Masked) or parametrization == "ratios"
    options = {**made["options"], "vocab_size": description["vocab_size"], "pad_id": description["pad_id"]}
    options |= {"labels": counts} if counts else {}
    options |= {"timed": True} if timed else {}
    network = first_network(trainer, options, description["domain"], init, seed)
    settings = {key: trainer[key] for key in ("learning_rate", "warmup", "decay", "ema")}
    settings |= {"label_dropout": trainer.get("label_dropout", 0.2)}
    objective = objective_for(process, trainer.get("objective", "likelihood"), parametrization)
    if trainer.get("ends"):
        if not isinstance(objective, MaskedLikelihood):
            raise ValueError(f"trainer.ends={trainer['ends']} is for a masked process with objective=likelihood")
        objective = dataclasses.replace(objective, ends=trainer["ends"])
    module = DenoisingModule(network, objective, total_steps=trainer["steps"], seed=seed, **settings)
    description["network"] = {"name": made["name"], "options": options}
    description["temperature"] = trainer.get("temperature", 1.0)
    loaders = _loaders(data, trainer, description, seed, done)
    kept = {key: value for key, value in description.items() if key not in ("window", "complement")}
    return loop.run(module, loaders, trainer, place, made_from, done, kept)


def label_lengths(data: Mapping[str, np.ndarray], values: list[int], room: int) -> list[list[list[int]]]:
    """How often each length 0 .. room - 1 occurs among all sequences with each value of each label."""
    parts = ("", "val_")
    sizes = np.concatenate([np.diff(data[f"{part}offsets"].astype(np.int64)) for part in parts])
    columns = np.concatenate([data[f"{part}labels"] for part in parts]).T
    return [
        [np.bincount(sizes[column == value], minlength=room).tolist() for value in range(count)]
        for column, count in zip(columns, values, strict=True)
    ]


def _loaders(
    data: dict, trainer: dict[str, Any], description: dict[str, Any], seed: int, done: int
) -> tuple[DataLoader, DataLoader]:
    size, window = trainer["batch_size"], description.get("window")

    def batches(prefix: str, seed: int, count: int | None, first: int) -> IterableDataset:
        tokens, offsets, labels = data[f"{prefix}tokens"], data[f"{prefix}offsets"], data.get(f"{prefix}labels")
        more: Any = dict(batches=count, labels=labels, first=first)
        if window:
            return Windows(tokens, offsets, size, window, description.get("complement"), seed, **more)
        pad = description["pad_id"] or 0
        return BucketedSequences(tokens, offsets, size, pad, POOL if count is None else count, seed, **more)

    held = trainer["validation"] // size if window else (len(data["val_offsets"]) - 1) // size
    train, validation = batches("", seed, None, done), batches("val_", 0, max(1, held), 0)
    return DataLoader(train, batch_size=None), DataLoader(validation, batch_size=None)


if __name__ == "__main__":
    sys.exit(loop.main(fit, sys.argv[1]))
