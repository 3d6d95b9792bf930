"""Networks of the user's own as rewards: loading them, and picking the number that counts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.io.archives import reason
from guidekit.priors.denoiser import evaluating


def load_module(model: str | Path | nn.Module, trust: bool = False) -> Any:
    """A network ready for use: a module as it is, TorchScript (torch.jit.save) or an exported program (.pt2).

    Args:
        model: module or file.
        trust: whoever made the file may run code here. An exported program holds pickles, and TorchScript is a program
            that can write files; both can do so while they are loaded.

    Raises:
        ValueError: a file without trust, of which nothing is read; no such file, or one of another kind.
    """
    if isinstance(model, nn.Module):
        return model
    path = Path(model)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; save your network by torch.jit.save or torch.export.save")
    if trust is not True:
        raise ValueError(
            f"{path} is a program, which can do anything on this machine as soon as it is loaded: "
            "pass reward.trust=true if you made it yourself, or trust who did"
        )
    try:
        if path.suffix == ".pt2":
            return torch.export.load(path).module()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
            return torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:  # what is wrong with a file shows in many ways, such as a KeyError of its archive
        raise ValueError(
            f"{path} is neither TorchScript nor an exported program (.pt2): {type(error).__name__}: {reason(error)}"
        ) from error


def asked(module: Any, inputs: Tensor, number: int) -> Tensor:
    """One number a row, (B,), of a network at inputs (B, ...), asked in evaluation mode; see `column`.

    Raises:
        ValueError: the network failed, with its first reason, or gave outputs of another shape.
    """
    try:
        with evaluating(module):
            outputs = module.to(inputs.device)(inputs)
    except Exception as error:  # whatever a network of somebody else does
        raise ValueError(
            f"the network of the reward failed on inputs {tuple(inputs.shape)} of type {inputs.dtype}: "
            f"{type(error).__name__}: {reason(error)}"
        ) from error
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the network of the reward gave {type(outputs).__name__}; a tensor is expected")
    return column(outputs, inputs, number)


def column(outputs: Tensor, inputs: Tensor, number: int) -> Tensor:
    """One number a row, (B,), of a network's outputs (B,) or (B, K), or () for one row.

    Raises:
        ValueError: outputs of another shape, or no such column.
    """
    n = len(inputs)
    if n == 1 and outputs.ndim == 0:
        return outputs[None]
    if outputs.shape not in ((n,), (n, *outputs.shape[1:2])) or (outputs.ndim == 2 and number >= outputs.shape[1]):
        raise ValueError(
            f"the network gave {tuple(outputs.shape)} for {tuple(inputs.shape)}; expected ({n},) or ({n}, K) with "
            f"K above output={number}"
        )
    return outputs if outputs.ndim == 1 else outputs[:, number]
