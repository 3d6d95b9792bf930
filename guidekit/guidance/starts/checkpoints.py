"""Refiners in files: guidekit's checkpoint format with a map of noise in place of a denoiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from guidekit.guidance.starts.refined_noise import Refiner
from guidekit.priors.checkpoints import CheckpointError, load_network, read_description, save_checkpoint
from guidekit.priors.descriptions import describe_gaussian, gaussian_process_from
from guidekit.registry import register


def save_refiner(path: str | Path, refiner: Refiner, network: dict[str, Any], domain: str, card: dict) -> None:
    """Write a refiner.

    Args:
        path: file to write, ending in .safetensors.
        refiner: made by `train_refiner`.
        network: {name, options} of its network.
        domain: whose prior it is for.
        card: how it was made.

    Raises:
        ValueError: the process has no name to be written under.
    """
    conditions = None if refiner.conditions is None else refiner.conditions.tolist()
    description = {
        "kind": "refiner",
        "domain": domain,
        "network": network,
        "process": describe_gaussian(refiner.process),
        "event_shape": list(refiner.event_shape),
        "times": list(refiner.times),
        "conditions": conditions,
        "prior_weights": refiner.weights,
        "card": card,
    }
    save_checkpoint(path, refiner.network, description)


@register("tool", "load_refiner")
def load_refiner(path: str | Path) -> Refiner:
    """A refiner from a file.

    Args:
        path: written by `save_refiner` or `guidekit train trainer=refiner`.

    Raises:
        CheckpointError: missing, damaged, or no refiner.
    """
    description = read_description(path)
    kind = description.get("kind", "prior")
    if kind != "refiner":
        raise CheckpointError(f"{path} holds a {kind}, not a refiner; make one with guidekit train trainer=refiner")
    network = load_network(path, description).eval().requires_grad_(False)
    seen = description["conditions"]
    return Refiner(
        network,
        gaussian_process_from(description),
        tuple(description["event_shape"]),
        tuple(description["times"]),
        None if seen is None else torch.tensor(seen),
        description["prior_weights"],
    )
