"""Trains a token prior from prepared data. Needs torch, lightning, numpy, safetensors and pyyaml only.

On a machine without the domain's libraries: `python -m guidekit.training.token_job folder/train.yaml`, with a folder
written by `guidekit train ... prepare=folder`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from guidekit.networks import NETWORKS
from guidekit.priors.descriptions import process_from
from guidekit.processes import Masked
from guidekit.training import loop
from guidekit.training.denoising import DenoisingModule
from guidekit.training.objectives import objective_for
from guidekit.training.sequences import BucketedSequences, Windows


def save_prepared(path: Path, train: tuple, validation: tuple, description: dict[str, Any]) -> None:
    """Ragged token arrays and the description of the future checkpoint, in one npz file.

    Args:
        path: file to write.
        train, validation: (tokens (T,), offsets (n + 1,)) and, for a conditional prior, labels (n, K).
        description: see `guidekit.priors.checkpoints.save_checkpoint`; "window" and "complement" ask for windows at
            random places of the sequences instead of whole ones.
    """
    arrays = {}
    for prefix, part in (("", train), ("val_", validation)):
        arrays |= {prefix + name: value for name, value in zip(("tokens", "offsets", "labels"), part, strict=False)}
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, description=np.array(json.dumps(description)), **arrays)
    os.replace(part, path)


def fit(
    prepared: Path, trainer: dict[str, Any], output: Path, init: str | None, resume: bool, seed: int
) -> dict[str, float]:
    """Train, keep `<output>.ckpt` for resuming and write the averaged weights to `output`.

    Args:
        prepared: file written by `save_prepared`.
        trainer: settings, see configs/trainer/.
        output: checkpoint to write.
        init: checkpoint whose weights to start from.
        resume: go on from `<output>.ckpt`.
        seed: of weights, data order and masks.

    Returns:
        updates done, molecules seen, seconds of this session and validation loss (nats).

    Raises:
        CheckpointError: nothing to resume, or `init` does not fit.
    """
    data = dict(np.load(prepared))
    description = json.loads(str(data["description"]))
    made = trainer["network"]
    if trainer.get("process"):
        description["process"] = trainer["process"]
    if trainer.get("parametrization"):
        description["parametrization"] = trainer["parametrization"]
    if (description.get("process") or {}).get("name") == "marginal" and not description["process"].get("options"):
        counts = np.bincount(data["tokens"], minlength=description["vocab_size"])
        description["process"] = {**description["process"], "options": {"law": counts.tolist()}}
    process = process_from(description)
    counts = [len(label["values"]) for label in description.get("labels", ())]
    parametrization = description.get("parametrization", "clean")
    timed = not isinstance(process, Masked) or parametrization == "ratios"
    options = {**made["options"], "vocab_size": description["vocab_size"], "pad_id": description["pad_id"]}
    options |= {"labels": counts} if counts else {}
    options |= {"timed": True} if timed else {}
    if trainer["threads"]:
        torch.set_num_threads(trainer["threads"])
    torch.manual_seed(seed)
    network = NETWORKS[made["name"]](**options)
    if init is not None:
        loop.start_from(network, init, description["domain"])
    settings = {key: trainer[key] for key in ("learning_rate", "warmup", "decay", "ema")}
    settings |= {"label_dropout": trainer.get("label_dropout", 0.2)}
    objective = objective_for(process, trainer.get("objective", "likelihood"), parametrization)
    module = DenoisingModule(network, objective, total_steps=trainer["steps"], **settings)
    description["network"] = {"name": made["name"], "options": options}
    description["temperature"] = trainer.get("temperature", 1.0)
    state = output.with_name(output.name + ".ckpt") if resume else None
    loaders = _loaders(data, trainer, description, seed, state)
    kept = {key: value for key, value in description.items() if key not in ("window", "complement")}
    return loop.run(module, loaders, trainer, output, resume, kept)


def _loaders(
    data: dict, trainer: dict[str, Any], description: dict[str, Any], seed: int, state: Path | None
) -> tuple[DataLoader, DataLoader]:
    done = loop.updates_done(state)
    size, window = trainer["batch_size"], description.get("window")

    def batches(prefix: str, seed: int, count: int | None) -> IterableDataset:
        tokens, offsets, labels = (data.get(prefix + name) for name in ("tokens", "offsets", "labels"))
        if window:
            return Windows(tokens, offsets, size, window, description.get("complement"), seed, count, labels)
        pool = {} if count is None else {"pool": count}
        pad_id = description["pad_id"] or 0
        return BucketedSequences(tokens, offsets, size, pad_id, seed=seed, batches=count, labels=labels, **pool)

    held = trainer["validation"] // size if window else (len(data["val_offsets"]) - 1) // size
    # A resumed session draws other batches than the one before it.
    train, validation = batches("", seed + done, None), batches("val_", 0, max(1, held))
    return DataLoader(train, batch_size=None), DataLoader(validation, batch_size=None)


def main(path: str) -> None:
    """Train as the YAML file of a prepared folder says; paths in it are relative to the folder."""
    import yaml

    config = yaml.safe_load(Path(path).read_text())
    folder = Path(path).parent
    report = fit(
        folder / "prepared.npz",
        config["trainer"],
        folder / config["output"],
        config["init"],
        config["resume"],
        config["seed"],
    )
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
