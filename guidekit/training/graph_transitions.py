"""What nodes and edges of graphs turn into in training: names for the settings, and the process of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from guidekit.errors import UnknownNameError

TRANSITIONS = ("absorbing", "marginal", "masked")
"""What nodes and edges turn into: a mask and "no edge"; what is frequent in the data; masks, both of them."""


def transitions(name: str, graph: Mapping[str, Any], tokens: np.ndarray) -> dict[str, Any]:
    """The process {name, options} of a kind of transitions, see `TRANSITIONS`.

    Args:
        name: of them.
        graph: the types of nodes and edges, as in the description of a checkpoint.
        tokens: (n, L) of the data, whose marginals are meant.

    Raises:
        UnknownNameError: no such transitions.
    """
    if name not in TRANSITIONS:
        raise UnknownNameError("process", str(name), TRANSITIONS)
    if name == "masked":
        return {"name": "masked"}
    nodes, edges = len(graph["nodes"]), len(graph["edges"])
    size = 2 + nodes + edges
    kinds = [0] * (1 + nodes) + [1] * (1 + edges)
    laws = np.zeros((2, size + (name == "absorbing" and nodes > 1)))
    if name == "absorbing":
        laws[0, -1 if nodes > 1 else 1] = laws[1, 1 + nodes] = 1  # nodes that are all alike need no mask
    else:
        counts = np.bincount(tokens.ravel(), minlength=size)[:size]
        laws[0, 1 : 1 + nodes], laws[1, 1 + nodes :] = counts[1 : 1 + nodes], counts[1 + nodes :]
        laws /= laws.sum(1, keepdims=True)
    return {"name": "kinds", "options": {"kinds": kinds, "laws": laws.round(9).tolist()}}
