"""Networks that values are learned by."""

from __future__ import annotations

import copy
import math
from typing import Any

from guidekit.core.prior import Prior
from guidekit.errors import UnknownNameError
from guidekit.networks import ValueNetwork
from guidekit.networks.value_network import TRUNKS
from guidekit.processes import DiscreteProcess


def small_trunk(prior: Prior) -> dict[str, Any]:
    """A network that suits a prior's states and is cheap beside its own: {name, options}, see `ValueNetwork`."""
    process = prior.process
    if not isinstance(process, DiscreteProcess):
        if len(prior.event_shape) == 3:
            return {"name": "image_encoder", "options": {"channels": prior.event_shape[0]}}
        return {"name": "perceptron", "options": {"size": math.prod(prior.event_shape)}}
    tokens = {"vocab_size": process.vocab_size, "max_length": prior.event_shape[0]}
    if process.pinned is None:
        return {"name": "dilated_convolution", "options": {**tokens, "width": 64, "dilations": [1, 1, 4, 16]}}
    padded = {**tokens, "pad_id": process.pinned}
    return {"name": "sequence_transformer", "options": {**padded, "width": 96, "depth": 2}}


def own_trunk(prior: Any) -> dict[str, Any]:
    """{name, options} of the network of a prior from a checkpoint, as a trunk.

    Raises:
        ValueError: a prior of another library, whose network is in no file of ours.
    """
    if not hasattr(prior, "made"):
        raise ValueError(f"a value on features of {prior.name} can be trained in Python, and is not written to a file")
    return {"name": prior.made["name"], "options": {"timed": False, **prior.made["options"]}}


def trunk_of(setting: Any, prior: Prior) -> dict[str, Any] | str:
    """What `trainer.network` says: {name, options} of a trunk, "prior" for its features, null for a small one.

    Raises:
        UnknownNameError: no such trunk.
    """
    trunk = setting or small_trunk(prior)
    if trunk != "prior" and (not isinstance(trunk, dict) or trunk.get("name") not in TRUNKS):
        name = trunk.get("name") if isinstance(trunk, dict) else trunk
        raise UnknownNameError("trainer.network", str(name), ["prior", *TRUNKS])
    return trunk


def shared_trunk(prior: Prior, outputs: int) -> ValueNetwork:
    """A value network on the prior's own features, which stay as they are.

    Raises:
        ValueError: the prior has none.
    """
    if prior.network is None or not hasattr(prior, "from_features"):
        raise ValueError(f"{prior.name} has no features to learn a value from")
    return ValueNetwork(copy.deepcopy(prior.network).requires_grad_(False), outputs)
