"""The work behind `guidekit train trainer=value`: learn what a reward will be, from noisy states of a prior."""

from __future__ import annotations

import dataclasses
import random
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.guidance.values.checkpoints import save_value
from guidekit.processes import DiscreteProcess
from guidekit.reporting.console import Console
from guidekit.running.build import build_reward
from guidekit.running.independence import networks_of
from guidekit.training.place import Place
from guidekit.training.states import content, read_state, record_of_samples, write_state
from guidekit.training.trunks import own_trunk, trunk_of
from guidekit.training.values import Round, Schedule, train_value


def train(config: dict[str, Any], domain: Domain, place: Place, console: Console) -> bool:
    """Train a value of the configured reward and write it; a state is kept behind every round. False where it was done.

    Raises:
        ValueError: no reward, or settings outside their range.
        OutputError: see `guidekit.training.place.Place.standing`.
        Stopped: by a signal.
    """
    settings = {field.name: config["trainer"][field.name] for field in dataclasses.fields(Schedule)}
    if settings["eta"] is not None:
        settings["eta"] = tuple(settings["eta"])
    schedule = Schedule(**settings)
    prior = domain.load_prior(config["prior"])
    reward = build_reward(domain, config["reward"], prior)
    if reward is None:
        raise ValueError("trainer=value learns a reward: give reward=")
    trunk = trunk_of(config["trainer"]["network"], prior)
    written = own_trunk(prior) if isinstance(trunk, str) else trunk
    if config["trainer"]["threads"]:
        torch.set_num_threads(config["trainer"]["threads"])
    began = time.perf_counter()
    condition, bins, seed = config["condition"], config["trainer"]["bins"], config["seed"]
    data = read_data(config["data"], domain, prior, schedule.base) if config["data"] else None
    made = record_of_samples(domain, config, data=None if data is None else content({"data": data}))
    standing = place.standing(made)
    if standing == "done":
        return False
    begun = Round.of(read_state(place.state)["round"]) if standing == "begun" else None
    if begun is not None:
        console.print(f"round {begun.step} was done before: {place.state}")
    value = train_value(
        prior,
        reward,
        trunk,
        schedule,
        bins,
        condition,
        seed,
        log=console.print,
        data=data,
        equal_counts=getattr(reward, "by_rank", False),
        begun=begun,
        keep=lambda last: write_state(place.state, {"round": last.plain()}, made),
    )
    card = {
        "prior": config["prior"],
        "reward": config["reward"],
        "reward_networks": networks_of(reward),
        "trainer": config["trainer"],
        "condition": condition,
        "data": config["data"],
        "seconds": round(time.perf_counter() - began),
        "training": {"made": made, "complete": True},
    }
    save_value(place.output, value, written, domain.name, card)
    place.state.unlink()
    seen = value.centers[value.centers.isfinite()]
    told = f"rewards from {seen.min():.4g} to {seen.max():.4g}, {card['seconds']} seconds"
    console.print(f"written to {place.output}: {told}")
    return True


def read_data(names: str, domain: Domain, prior: Prior, most: int) -> Tensor:
    """At most `most` clean states of real objects that the prior could have made, drawn without replacement.

    Raises:
        ValueError: unreadable data, or none of them fits the prior.
    """
    objects = [one for one in domain.read_training(names, prior=prior) if one is not None]
    random.Random(0).shuffle(objects)
    states = prior.encode(objects[:most])
    if not isinstance(prior.process, DiscreteProcess):
        return states
    (length,), pad = prior.event_shape, prior.process.pinned
    short = states[:, :length]
    if pad is not None:
        short = F.pad(short[(states[:, length:] == pad).all(1)], (0, length - short.shape[1]), value=pad)
    if not len(short) or short.shape[1] != length:
        raise ValueError(f"data={names}: nothing fits {prior.name}, whose sequences have {length} tokens")
    return short
