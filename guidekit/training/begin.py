"""How trainings of priors from prepared data begin: what is done already, and the network with its first weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from guidekit.io.files import sha256
from guidekit.networks import NETWORKS
from guidekit.training import loop
from guidekit.training.place import Place
from guidekit.training.states import content, record_of


class Begun(NamedTuple):
    """A training that has something left to do.

    Attributes:
        data: the prepared arrays.
        description: of the future checkpoint, as it was prepared.
        made: record of the training, see `states.record_of`.
        done: updates that were done before.
    """

    data: dict[str, np.ndarray]
    description: dict[str, Any]
    made: dict[str, Any]
    done: int


def begin(
    prepared: Mapping[str, np.ndarray], trainer: dict[str, Any], place: Place, init: str | None, seed: int
) -> Begun | None:
    """What a training begins or goes on with; None where nothing is left to do. Arguments as of `token_job.fit`.

    Raises:
        OutputError: see `guidekit.training.place.Place.standing`.
    """
    data = dict(prepared)
    made = record_of(trainer, seed, init=init and sha256(init), data=content(data))
    done = loop.updates_done(place, made, trainer)
    return None if done is None else Begun(data, json.loads(str(data["description"])), made, done)


def first_network(
    trainer: Mapping[str, Any], options: Mapping[str, Any], domain: str, init: str | None, seed: int
) -> torch.nn.Module:
    """The network of a trainer with the weights of a seed, or of the checkpoint `init`; sets the number of threads.

    Args:
        trainer: settings; "network" names it.
        options: of the network.
        domain: of the checkpoint.
        init: its file, or None.
        seed: of weights.

    Raises:
        CheckpointError: `init` does not fit.
    """
    if trainer["threads"]:
        torch.set_num_threads(trainer["threads"])
    torch.manual_seed(seed)
    network = NETWORKS[trainer["network"]["name"]](**options)
    if init is not None:
        loop.start_from(network, init, domain)
    return network


__all__ = ["Begun", "begin", "first_network"]
