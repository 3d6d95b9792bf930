"""Tensors and what is said of them in one file, which tells whether a single bit is not as it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidekit.io.files import write_atomic

SAID = "said"
"""Name under which the JSON lies among the tensors."""


def write_checked(path: Path, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Write tensors on the CPU and plain JSON to a safetensors file, in one step."""
    from safetensors.torch import save

    kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
    kept[SAID] = torch.frombuffer(bytearray(json.dumps(dict(said)).encode()), dtype=torch.uint8)
    write_atomic(path, save(kept, {"hash": _hash(kept)}))


def read_checked(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `write_checked` wrote; None where there is no such file, or not all of it as it was."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            recorded = file.metadata()["hash"]
        if _hash(tensors) != recorded:
            return None
        return tensors, json.loads(tensors.pop(SAID).numpy().tobytes())
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _hash(tensors: Mapping[str, Tensor]) -> str:
    made = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        made.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        made.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return made.hexdigest()
