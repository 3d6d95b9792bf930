"""The state of a training in a file: what the next session needs, beside a record of what it was made from."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

import guidekit
from guidekit.domain import Domain
from guidekit.io.files import write_atomic
from guidekit.priors.checkpoints import CheckpointError
from guidekit.running.identity import flat, identity

KEY = "guidekit"
"""Of the record in a state."""

FREE = ("minutes", "threads", "accelerator", "validate_every")
"""Settings of a trainer that the next session may change: they say where and how long, not what is learned."""


def record_of(trainer: Mapping[str, Any], seed: int, **more: Any) -> dict[str, Any]:
    """What makes a training what it is, as JSON gives it back.

    Args:
        trainer: its settings; those of `FREE` are left out.
        seed: of all randomness.
        more: whatever else decides; None where there is nothing.
    """
    kept = {key: value for key, value in trainer.items() if key not in FREE}
    return json.loads(json.dumps({"trainer": kept, "seed": seed, **more}))


def record_of_samples(domain: Domain, config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The record of a training on samples of a prior: its settings, and hashes of the files and of the code they name.

    Args:
        domain: whose prior it is.
        config: of `guidekit train`.
        more: see `record_of`.
    """
    free = {"trainer": {key: value for key, value in config["trainer"].items() if key not in FREE}}
    made = identity(domain, {**config, **free})
    return {"settings": made["settings"], "files": made["files"], "code": made["code"], **more}


def content(arrays: Mapping[str, Any]) -> str:
    """A hash of arrays, by name; the card of a description, which only tells what they are, is passed over."""
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if name == "description":
            kept = {key: value for key, value in json.loads(str(array)).items() if key != "card"}
            array = np.frombuffer(json.dumps(kept, sort_keys=True).encode(), np.uint8)
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two records, a clause each.

    Parts that only the first has are passed over, so that a record can be compared before all of it is known.
    """
    before, after, told = dict(flat({key: was.get(key) for key in now})), dict(flat(now)), []
    for key in {**before, **after}:
        pair = before.get(key), after.get(key)
        if pair[0] != pair[1]:
            short = all(len(str(part)) < 32 for part in pair)  # others are hashes
            told.append(f"{key} was {pair[0]} and is {pair[1]}" if short else f"{key} has changed")
    return told


def write_state(path: Path, state: dict[str, Any], made: Mapping[str, Any]) -> None:
    """Write a state of tensors and plain values with its record, in one step."""
    stream = io.BytesIO()
    torch.save({**state, KEY: {"made": dict(made), "version": guidekit.__version__}}, stream)
    write_atomic(path, stream.getbuffer())


def read_state(path: Path) -> dict[str, Any]:
    """A state as it was written; its record is under `KEY`. Nothing in the file can run code.

    Raises:
        CheckpointError: no file of this kind.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is damaged, or no training state") from error
    if not isinstance(state, dict) or not isinstance(state.get(KEY), dict):
        raise CheckpointError(f"{path} is no training state of this version of guidekit")
    return state


class RecordedStates(TorchCheckpointIO):
    """Lightning's checkpoints written as `write_state` does.

    Args:
        made: the record.
    """

    def __init__(self, made: Mapping[str, Any]) -> None:
        super().__init__()
        self.made = made

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """See the class."""
        write_state(Path(path), checkpoint, self.made)
