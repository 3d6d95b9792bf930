"""Results of finished chunks on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.sampling import Result, join, sample_chunks


def save_result(path: Path, result: Result) -> None:
    """Write a result of tensor states to a safetensors file, atomically."""
    from safetensors.torch import save_file

    if not isinstance(result.samples, Tensor):
        raise TypeError(f"only tensor states can be kept on disk; these are {type(result.samples).__name__}")
    tensors = {"samples": result.samples, "log_weights": result.log_weights, "log_normalizer": result.log_normalizer}
    tensors.update({f"info/{name}": value for name, value in result.info.items()})
    part = path.with_suffix(".part")
    metadata = {"ledger": json.dumps(dataclasses.asdict(result.ledger))}
    save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, part, metadata)
    os.replace(part, path)


def load_result(path: Path) -> Result:
    """Read what `save_result` wrote."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        ledger = Ledger(**json.loads(file.metadata()["ledger"]))
    info = {name[5:]: value for name, value in tensors.items() if name.startswith("info/")}
    return Result(tensors["samples"], tensors["log_weights"], tensors["log_normalizer"], ledger, info)


def sample_on_disk(
    folder: Path, name: str, num_samples: int, on_chunk: Callable[[int], None] | None = None, **arguments
) -> Result:
    """`sample`, with every finished chunk kept in a folder and those already there not drawn again.

    Args:
        folder: existing folder for the chunks.
        name: of this part of the run ("guided", "unguided").
        num_samples: groups in all.
        on_chunk: told the number of finished groups after every chunk.
        arguments: of `guidekit.sample`.
    """
    done = sorted(folder.glob(f"{name}-*.safetensors"))
    parts = [load_result(path) for path in done]
    first = sum(len(part.log_normalizer) for part in parts)
    if on_chunk is not None and first:
        on_chunk(first)
    for result in sample_chunks(num_samples=num_samples, first=first, **arguments):
        save_result(folder / f"{name}-{len(parts):05d}.safetensors", result)
        parts.append(result)
        first += len(result.log_normalizer)
        if on_chunk is not None:
            on_chunk(first)
    return join(parts)
