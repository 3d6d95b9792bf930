"""guidekit's own checkpoint: one safetensors file with weights and a JSON description. Nothing in it can run code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from guidekit.core.prior import Prior
from guidekit.io.archives import reason
from guidekit.io.contents import ordinary
from guidekit.io.files import write_atomic
from guidekit.networks import NETWORKS
from guidekit.priors import adjacency, field_checkpoint, graphs, neural, tokens
from guidekit.priors.adapters import DIFFUSERS, TRANSFORMERS, library_of
from guidekit.priors.adapters.diffusers_folder import load_diffusers
from guidekit.priors.adapters.masked_language import load_masked_language_model
from guidekit.priors.described import refuse_odd_process, wrong
from guidekit.priors.tokens import TokenPrior
from guidekit.priors.weights import CheckpointError, made_for, read_weights

KEY = "guidekit"
FORMAT = 1


def save_checkpoint(path: str | Path, network: nn.Module, description: dict[str, Any]) -> None:
    """Write a network in half precision with its description; the file is the old one or the new one, never a half.

    Args:
        path: file to write; its folder must exist.
        network: module whose state is kept.
        description: JSON-able; needs domain, network {name, options} and card; for tokens vocab_size, pad_id and
            length_counts, for real-valued states event_shape; may have process (see `guidekit.priors.descriptions`),
            labels, parametrization, sigma_data and a sampling temperature.
    """
    from safetensors.torch import save

    weights = {
        name: value.detach().cpu().to(torch.float16).contiguous() for name, value in network.state_dict().items()
    }
    write_atomic(path, save(weights, {KEY: json.dumps({"format": FORMAT, **description})}))


def read_description(path: str | Path, domain: str | None = None) -> dict[str, Any]:
    """The JSON description of a checkpoint.

    Raises:
        CheckpointError: missing, not a safetensors file, truncated, no guidekit checkpoint, with values of the wrong
            type (see `guidekit.priors.described`), or of another domain.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safe_open(ordinary(path), "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({reason(error)})") from error
    if KEY not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but no guidekit checkpoint (no '{KEY}' in its metadata)")
    try:
        description = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its description is no JSON ({reason(error)})") from error
    if isinstance(description, dict) and description.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {description.get('format')}; this version of guidekit reads {FORMAT}")
    if wrong(description):
        raise CheckpointError(f"{path}: {wrong(description)}")
    if domain is not None and description["domain"] != domain:
        raise CheckpointError(f"{path} is a checkpoint of domain {description['domain']!r}, not of {domain!r}")
    return description


def load_network(path: str | Path, description: dict[str, Any]) -> nn.Module:
    """The network of a checkpoint in float32.

    Raises:
        CheckpointError: unknown network, weights that are not finite, or that do not fit it (missing, unexpected or of
            another shape).
    """
    made = description["network"]
    if made["name"] not in NETWORKS:
        raise CheckpointError(f"{path} holds a network {made['name']!r}; known: {', '.join(NETWORKS)}")
    return made_for(path, NETWORKS[made["name"]], made["options"], read_weights(path))


def load_token_prior(path: str | Path, domain: str) -> TokenPrior:
    """A `TokenPrior` from a checkpoint of the given domain; raises `CheckpointError` (see above)."""
    return _load(path, domain, tokens.made_from)


def load_graph_prior(path: str | Path, domain: str) -> graphs.GraphPrior:
    """A `GraphPrior` from a checkpoint of the given domain; raises `CheckpointError` (see above)."""
    return _load(path, domain, graphs.made_from)


def load_adjacency_prior(path: str | Path, domain: str) -> adjacency.AdjacencyPrior:
    """An `AdjacencyPrior` from a checkpoint of the given domain; raises `CheckpointError` (see above)."""
    return _load(path, domain, adjacency.made_from)


def load_gaussian_prior(path: str | Path, domain: str) -> Prior:
    """A `NeuralGaussian` from a checkpoint of the given domain; raises `CheckpointError` (see above)."""
    return _load(path, domain, neural.made_from)


def load_any_prior(path: str | Path, **options: Any) -> Prior:
    """The prior of a checkpoint of any domain, or in a model folder of diffusers or transformers.

    A domain's own `load_prior` also gives it the codec of the domain.

    Args:
        path: of the file or folder.
        options: of `load_masked_language_model`, for its folders.

    Raises:
        CheckpointError: see above, and `guidekit.priors.adapters`.
        ValueError: options for something that has none.
    """
    library = library_of(path)
    if library == TRANSFORMERS:
        return load_masked_language_model(path, **options)
    if options:
        raise ValueError(f"{path} takes no {', '.join(options)}: these are for masked language models")
    if library == DIFFUSERS:
        return load_diffusers(path)
    description = read_description(path)
    made_from: Callable[[dict, nn.Module], Prior] = neural.made_from
    if "marginals" in description:
        made_from = adjacency.made_from
    elif "vocab_size" in description:
        made_from = graphs.made_from if "graph" in description else tokens.made_from
    return _load(path, description["domain"], made_from)


def _load(path: str | Path, domain: str, made_from: Callable[..., Prior]) -> Any:
    description = read_description(path, domain)
    if description.get("kind", "prior") != "prior":
        raise CheckpointError(f"{path} holds a {description['kind']}, not a prior")
    needs: dict[Callable[..., Prior], str] = {
        tokens.made_from: "vocab_size",
        graphs.made_from: "graph",
        adjacency.made_from: "marginals",
    }
    needed = needs.get(made_from, "event_shape")
    if needed not in description:
        raise CheckpointError(f"{path}: its description has no {needed!r}; a prior of {domain} has one")
    field = description["network"]["name"] == field_checkpoint.NAME and needed == "event_shape"
    network: Any = None if field else load_network(path, description).eval().requires_grad_(False)
    try:
        prior: Any = field_checkpoint.field_from(path, description) if field else made_from(description, network)
        refuse_odd_process(prior.process)
    except Exception as error:  # whatever the options of a process lead to
        raise CheckpointError(f"{path}: no prior can be made of its description ({reason(error)})") from error
    prior.name, prior.dataset = f"{domain} prior {Path(path).stem}", description.get("dataset", "")
    return prior
