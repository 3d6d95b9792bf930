"""Networks of the user's own as rewards: loading them, and picking the number that counts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def load_module(model: str | Path | nn.Module) -> Any:
    """A network ready for use: a module as it is, TorchScript (torch.jit.save) or an exported program (.pt2).

    Raises:
        ValueError: no such file, or one of another kind.
    """
    if isinstance(model, nn.Module):
        return model.eval()
    path = Path(model)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; save your network by torch.jit.save or torch.export.save")
    try:
        if path.suffix == ".pt2":
            return torch.export.load(path).module()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
            return torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(f"{path} is neither TorchScript nor an exported program (.pt2): {error}") from error


def column(outputs: Tensor, inputs: Tensor, number: int) -> Tensor:
    """One number a row, (B,), of a network's outputs (B,) or (B, K).

    Raises:
        ValueError: outputs of another shape, or no such column.
    """
    n = len(inputs)
    if outputs.shape not in ((n,), (n, *outputs.shape[1:2])) or (outputs.ndim == 2 and number >= outputs.shape[1]):
        raise ValueError(
            f"the network gave {tuple(outputs.shape)} for {tuple(inputs.shape)}; expected ({n},) or ({n}, K) with "
            f"K above output={number}"
        )
    return outputs if outputs.ndim == 1 else outputs[:, number]
