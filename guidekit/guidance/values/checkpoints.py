"""Learned values in files: guidekit's checkpoint format with a law over rewards in place of a denoiser."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from guidekit.guidance.values.energy import LearnedEnergy
from guidekit.guidance.values.learned import LearnedValue
from guidekit.priors.checkpoints import CheckpointError, load_network, read_description, save_checkpoint
from guidekit.priors.descriptions import describe, describe_gaussian, gaussian_process_from, process_from
from guidekit.processes import DiscreteProcess, GaussianProcess
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
    centers = [None if math.isinf(c) else c for c in value.centers.tolist()]
    description = {
        "kind": "value",
        "domain": domain,
        "network": {"name": "value_network", "options": {"trunk": trunk, "outputs": len(centers)}},
        **_noise(value.process),
        "centers": centers,
        "card": card,
    }
    save_checkpoint(path, value.network, description)


def save_energy(
    path: str | Path, energy: LearnedEnergy, trunk: dict[str, Any], domain: str, card: dict[str, Any]
) -> None:
    """Write an energy of noisy states made by `train_energy`; arguments and errors as of `save_value`."""
    description = {
        "kind": "energy",
        "domain": domain,
        "network": {"name": "value_network", "options": {"trunk": trunk, "outputs": 1}},
        **_noise(energy.process),
        "temperature": energy.temperature,
        "card": card,
    }
    save_checkpoint(path, energy.network, description)


def _noise(process: GaussianProcess | DiscreteProcess) -> dict[str, Any]:
    """How states were noised, for a description."""
    if isinstance(process, DiscreteProcess):
        return {"process": describe(process), "vocab_size": process.vocab_size, "pad_id": process.pinned}
    return {"process": describe_gaussian(process), "state": "real"}


@register("tool", "load_value")
def load_value(path: str | Path, eta: float | None = None, above: float | None = None) -> LearnedValue | LearnedEnergy:
    """A value, or an energy, from a file.

    Args:
        path: written by `guidekit train trainer=value` or `trainer=energy`.
        eta: 1 / temperature of the soft value, in units of 1 / reward; None is 1. An energy has its own and takes no
            other.
        above: take the log-probability of a reward of at least this in place of the soft value; not of energies.

    Raises:
        CheckpointError: missing, damaged, or no value.
        ValueError: `above` exceeds all rewards that were seen, or both are given, or an energy is asked for either.
    """
    if eta is not None and above is not None:
        raise ValueError(f"eta={eta:g} is of a soft value and above={above:g} of a probability: give one of them")
    description = read_description(path)
    kind = description.get("kind", "prior")
    if kind not in ("value", "energy"):
        raise CheckpointError(f"{path} holds a {kind}, not a value; make one with guidekit train trainer=value")
    network = load_network(path, description).eval().requires_grad_(False)
    process = (gaussian_process_from if description.get("state") == "real" else process_from)(description)
    if kind == "energy":
        if above is not None:
            raise ValueError(f"{path} holds an energy, which knows no thresholds: train a value for above=")
        temperature = float(description["temperature"])
        if eta is not None and not math.isclose(eta * temperature, 1):
            raise ValueError(
                f"{path} holds an energy of temperature {temperature:g}, that is of eta={1 / temperature:g} alone: "
                f"leave eta={eta:g} out, or train a value, which takes any"
            )
        return LearnedEnergy(network, process, temperature)
    centers = torch.tensor([-math.inf if c is None else c for c in description["centers"]], dtype=torch.float64)
    value = LearnedValue(network, process, centers)
    return value.at(1.0 if eta is None else eta) if above is None else value.above(above)
