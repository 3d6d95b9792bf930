"""The work behind `guidekit train trainer=energy`: learn the soft value of one temperature by contrast."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch

from guidekit.domain import Domain
from guidekit.guidance.values.checkpoints import save_energy
from guidekit.reporting.console import Console
from guidekit.running.build import build_reward
from guidekit.running.independence import networks_of
from guidekit.training.energies import Contrast, train_energy
from guidekit.training.place import Place
from guidekit.training.states import content, read_state, record_of_samples, write_state
from guidekit.training.trunks import own_trunk, trunk_of
from guidekit.training.value_job import read_data


def train(config: dict[str, Any], domain: Domain, place: Place, console: Console) -> bool:
    """Train an energy of the configured reward and write it; samples are kept. False where it was done.

    Raises:
        ValueError: no reward, or settings outside their range.
        OutputError: see `guidekit.training.place.Place.standing`.
        Stopped: by a signal.
    """
    contrast = Contrast(**{field.name: config["trainer"][field.name] for field in dataclasses.fields(Contrast)})
    prior = domain.load_prior(config["prior"])
    reward = build_reward(domain, config["reward"], prior)
    if reward is None:
        raise ValueError("trainer=energy learns a reward: give reward=")
    trunk = trunk_of(config["trainer"]["network"], prior)
    if config["trainer"]["threads"]:
        torch.set_num_threads(config["trainer"]["threads"])
    began = time.perf_counter()
    data = read_data(config["data"], domain, prior, contrast.base) if config["data"] else None
    made = record_of_samples(domain, config, data=None if data is None else content({"data": data}))
    standing = place.standing(made)
    if standing == "done":
        return False
    seen = read_state(place.state)["seen"] if standing == "begun" else None
    if seen is not None:
        console.print(f"samples were drawn before: {place.state}")
    energy = train_energy(
        prior,
        reward,
        trunk,
        contrast,
        config["condition"],
        config["seed"],
        console.print,
        data,
        None if seen is None else (seen["states"], seen["rewards"]),
        lambda found: write_state(place.state, {"seen": {"states": found[0], "rewards": found[1]}}, made),
    )
    card = {
        "prior": config["prior"],
        "reward": config["reward"],
        "reward_networks": networks_of(reward),
        "trainer": config["trainer"],
        "condition": config["condition"],
        "data": config["data"],
        "seconds": round(time.perf_counter() - began),
        "training": {"made": made, "complete": True},
    }
    save_energy(place.output, energy, own_trunk(prior) if isinstance(trunk, str) else trunk, domain.name, card)
    place.state.unlink()
    console.print(f"written to {place.output}: temperature {energy.temperature:g}, {card['seconds']} seconds")
    return True
