"""Weights in safetensors files, and networks that are made for them: refused before they are believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.io.archives import reason
from guidekit.io.contents import brief, ordinary

REPEATED = ("depth", "blocks")
"""Options that say how often a part is built; each part has weights of its own, as has each entry of a list."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or made for something else."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights of a safetensors file in float32.

    Raises:
        CheckpointError: no ordinary file, no safetensors file, truncated, or with weights that are no finite numbers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(ordinary(path))
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({reason(error)})") from error
    for name, value in weights.items():
        if value.is_complex() or value.dtype == torch.bool:
            raise CheckpointError(f"{path}: weight {brief(name)!r} is of type {value.dtype}; real numbers are expected")
        if not value.float().isfinite().all():
            wrong = int((~value.float().isfinite()).sum())
            raise CheckpointError(
                f"{path}: weight {brief(name)!r} is not finite ({wrong:,} of {value.numel():,} numbers); its training "
                "went wrong, or the file is damaged"
            )
    return {name: value.float() for name, value in weights.items()}


def made_for(
    path: str | Path, make: Callable[..., nn.Module], options: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> nn.Module:
    """A network with weights; memory is asked for when it is known that it has the shapes of the weights.

    Args:
        path: of the file, for messages.
        make: class of the network.
        options: its arguments, as the file names them.
        weights: of all its parameters and buffers.

    Raises:
        CheckpointError: no network can be made of the options, or weights are missing, unexpected or of another shape.
    """
    refuse_large(path, options, weights)
    try:
        with torch.device("meta"):
            plan = make(**options)
    except Exception as error:  # whatever the arguments of a network lead to
        raise CheckpointError(f"{path}: no network can be made of its options ({reason(error)})") from error
    refuse_misfit(path, plan, weights)
    network = make(**options)
    network.load_state_dict(dict(weights))
    return network


def refuse_large(path: str | Path, options: Any, weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError where an option asks for more than the file can hold weights for."""
    total = sum(value.numel() for value in weights.values())
    for name, value, repeated in _numbers("options", options):
        most = len(weights) if repeated else total
        if abs(value) > most:
            raise CheckpointError(
                f"{path}: its network has {name}={value:,}; the file has weights for {most:,} at most"
            )


def refuse_misfit(path: str | Path, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError that names weights which a network lacks or has in another shape."""
    own = network.state_dict()
    for what, names in (("lacks", own.keys() - weights.keys()), ("has unexpected", weights.keys() - own.keys())):
        if names:
            shown = ", ".join(map(brief, sorted(names)[:3])) + (", ..." if len(names) > 3 else "")
            raise CheckpointError(f"{path} does not fit its own description: it {what} weights ({len(names)}): {shown}")
    for name, value in own.items():
        if value.shape != weights[name].shape:
            raise CheckpointError(
                f"{path} does not fit its own description: weight {name!r} has shape {tuple(weights[name].shape)}; "
                f"{tuple(value.shape)} is expected"
            )


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float, bool]]:
    """(name, number, whether so many parts are built) of all numbers within options, and of the lengths of lists."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _numbers(str(key), one)
    elif isinstance(value, list | tuple):
        yield name, len(value), True
        for one in value:
            yield from _numbers(name, one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value, name in REPEATED
