"""Gaussian fields in guidekit's checkpoints: mean and logarithms of the variances, in the place of a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guidekit.io.files import write_atomic
from guidekit.priors.bases import BASES, named
from guidekit.priors.descriptions import describe_gaussian, gaussian_process_from
from guidekit.priors.gaussian_field import GaussianField
from guidekit.priors.weights import CheckpointError, read_weights

NAME = "gaussian_field"
"""Of the network in a description."""
WEIGHTS = {"mean", "log_variances"}


def save_field(path: str | Path, field: GaussianField, description: Mapping[str, Any], form: int = 1) -> None:
    """Write a field in a basis that has a name, float32, in one step.

    Args:
        path: file to write; its folder must exist.
        field: to be kept.
        description: with domain and card; may have a dataset.
        form: of the checkpoint.

    Raises:
        ValueError: a basis of eigenvectors, which no checkpoint has.
    """
    from safetensors.torch import save

    basis = next((name for name, kind in BASES.items() if type(field.basis) is kind), None)
    if basis is None:
        raise ValueError(f"a checkpoint holds fields in a basis of {' or '.join(BASES)}; this one has eigenvectors")
    told = {
        "format": form,
        **description,
        "event_shape": list(field.event_shape),
        "network": {"name": NAME, "options": {"basis": basis}},
        "process": describe_gaussian(field.process),
    }
    weights = {"mean": field.mean.float().cpu(), "log_variances": field.variances.log().float().cpu()}
    write_atomic(path, save({k: v.contiguous() for k, v in weights.items()}, {"guidekit": json.dumps(told)}))


def field_from(path: str | Path, description: Mapping[str, Any]) -> GaussianField:
    """The field of a checkpoint.

    Raises:
        CheckpointError: other weights, shapes or options than those of a field.
    """
    weights, options = read_weights(path), description["network"]["options"]
    shape = tuple(description["event_shape"])
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if found != dict.fromkeys(WEIGHTS, shape) or set(options) != {"basis"}:
        raise CheckpointError(f"{path}: a field has a mean and log_variances of shape {shape} and a basis; got {found}")
    try:
        basis = named(str(options["basis"]))
        field = GaussianField(
            weights["mean"], weights["log_variances"].exp(), basis, gaussian_process_from(description)
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    field.card = dict(description.get("card", {}))
    return field
