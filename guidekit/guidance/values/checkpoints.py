"""Learned values in files: guidekit's checkpoint format with a law over rewards in place of a denoiser."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from guidekit.guidance.values.learned import LearnedValue
from guidekit.priors.checkpoints import CheckpointError, load_network, read_description, save_checkpoint
from guidekit.priors.descriptions import describe, describe_gaussian, gaussian_process_from, process_from
from guidekit.processes import DiscreteProcess
from guidekit.registry import register


def save_value(path: str | Path, value: LearnedValue, trunk: dict[str, Any], domain: str, card: dict[str, Any]) -> None:
    """Write a value of noisy states.

    Args:
        path: file to write, ending in .safetensors.
        value: made by `train_value`.
        trunk: of its network, as given to `train_value`.
        domain: whose prior it guides.
        card: how it was made.

    Raises:
        ValueError: the process has no name to be written under.
    """
    if isinstance(value.process, DiscreteProcess):
        noise = {"process": describe(value.process), "vocab_size": value.process.vocab_size}
        noise |= {"pad_id": value.process.pinned}
    else:
        noise = {"process": describe_gaussian(value.process), "state": "real"}
    centers = [None if math.isinf(c) else c for c in value.centers.tolist()]
    description = {
        "kind": "value",
        "domain": domain,
        "network": {"name": "value_network", "options": {"trunk": trunk, "outputs": len(centers)}},
        **noise,
        "centers": centers,
        "card": card,
    }
    save_checkpoint(path, value.network, description)


@register("tool", "load_value")
def load_value(path: str | Path, eta: float = 1.0, above: float | None = None) -> LearnedValue:
    """A value from a file.

    Args:
        path: written by `save_value` or `guidekit train trainer=value`.
        eta: 1 / temperature of the soft value, in units of 1 / reward.
        above: take the log-probability of a reward of at least this instead.

    Raises:
        CheckpointError: missing, damaged, or no value.
        ValueError: `above` exceeds all rewards that were seen.
    """
    description = read_description(path)
    kind = description.get("kind", "prior")
    if kind != "value":
        raise CheckpointError(f"{path} holds a {kind}, not a value; make one with guidekit train trainer=value")
    network = load_network(path, description).eval().requires_grad_(False)
    centers = torch.tensor([-math.inf if c is None else c for c in description["centers"]], dtype=torch.float64)
    process = (gaussian_process_from if description.get("state") == "real" else process_from)(description)
    value = LearnedValue(network, process, centers)
    return value.at(eta) if above is None else value.above(above)
