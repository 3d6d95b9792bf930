"""guidekit's own checkpoint: one safetensors file with weights and a JSON description. Nothing in it can run code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from guidekit.networks import NETWORKS
from guidekit.priors import neural, tokens
from guidekit.core.prior import Prior
from guidekit.priors.tokens import TokenPrior

KEY = "guidekit"
FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or made for something else."""


def save_checkpoint(path: str | Path, network: nn.Module, description: dict[str, Any]) -> None:
    """Write a network in half precision with its description, through a temporary file.

    Args:
        path: file to write; its folder must exist.
        network: module whose state is kept.
        description: JSON-able; needs domain, network {name, options} and card; for tokens vocab_size, pad_id and
            length_counts, for real-valued states event_shape; may have process (see `guidekit.priors.descriptions`),
            labels, parametrization, sigma_data and a sampling temperature.
    """
    from safetensors.torch import save_file

    path = Path(path)
    weights = {
        name: value.detach().cpu().to(torch.float16).contiguous() for name, value in network.state_dict().items()
    }
    part = path.with_name(path.name + ".part")
    save_file(weights, part, {KEY: json.dumps({"format": FORMAT, **description})})
    os.replace(part, path)


def read_description(path: str | Path, domain: str | None = None) -> dict[str, Any]:
    """The JSON description of a checkpoint.

    Raises:
        CheckpointError: missing, not a safetensors file, truncated, no guidekit checkpoint, or of another domain.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({error})") from error
    if KEY not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but no guidekit checkpoint (no '{KEY}' in its metadata)")
    description = json.loads(metadata[KEY])
    if description.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {description.get('format')}; this version of guidekit reads {FORMAT}")
    if domain is not None and description["domain"] != domain:
        raise CheckpointError(f"{path} is a checkpoint of domain {description['domain']!r}, not of {domain!r}")
    return description


def load_network(path: str | Path, description: dict[str, Any]) -> nn.Module:
    """The network of a checkpoint in float32.

    Raises:
        CheckpointError: unknown network, or weights that do not fit it (missing, unexpected or of another shape).
    """
    from safetensors.torch import load_file

    made = description["network"]
    if made["name"] not in NETWORKS:
        raise CheckpointError(f"{path} holds a network {made['name']!r}; known: {', '.join(NETWORKS)}")
    network = NETWORKS[made["name"]](**made["options"])
    try:
        network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own description: {error}") from error
    return network


def load_token_prior(path: str | Path, domain: str) -> TokenPrior:
    """A `TokenPrior` from a checkpoint of the given domain; raises `CheckpointError` (see above)."""
    return _load(path, domain, tokens.made_from)


def load_gaussian_prior(path: str | Path, domain: str) -> Prior:
    """A `NeuralGaussian` from a checkpoint of the given domain, or a `DiffusersPrior` from a folder.

    Raises:
        CheckpointError: see above and `guidekit.priors.diffusers_folder.load_diffusers`.
    """
    if Path(path).is_dir():
        from guidekit.priors.diffusers_folder import load_diffusers

        return load_diffusers(path)
    return _load(path, domain, neural.made_from)


def load_any_prior(path: str | Path) -> Prior:
    """The prior of a checkpoint of any domain; raises `CheckpointError` (see above)."""
    description = read_description(path)
    made_from = tokens.made_from if "vocab_size" in description else neural.made_from
    return _load(path, description["domain"], made_from)


def _load(path: str | Path, domain: str, made_from: Callable[[dict, nn.Module], Prior]) -> Any:
    description = read_description(path, domain)
    if description.get("kind", "prior") != "prior":
        raise CheckpointError(f"{path} holds a {description['kind']}, not a prior")
    prior = made_from(description, load_network(path, description).eval().requires_grad_(False))
    prior.name = f"{domain} prior {Path(path).stem}"
    return prior


def sha256(path: str | Path) -> str:
    """Hash of a file, for records."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
