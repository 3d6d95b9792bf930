"""Trains a prior of graphs as real numbers from prepared data. Needs what `graph_job` needs.

On a machine without the domain's libraries: `python -m guidekit.training.adjacency_job folder/train.yaml`, with a
folder written by `guidekit train ... prepare=folder`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from guidekit.priors.adjacency import PROPERTY_SCALE
from guidekit.priors.adjacency_layout import Layout
from guidekit.priors.descriptions import gaussian_process_from
from guidekit.training import loop
from guidekit.training.adjacency_losses import AdjacencyError
from guidekit.training.array_job import Arrays
from guidekit.training.begin import begin, first_network
from guidekit.training.denoising import DenoisingModule
from guidekit.training.place import Place


def fit(
    prepared: Mapping[str, np.ndarray], trainer: dict[str, Any], place: Place, init: str | None, seed: int
) -> dict[str, float] | None:
    """Train, keep a state for resuming and write the averaged weights.

    Args:
        prepared: tokens and val_tokens (n, L), labels or properties (n, K) and those of validation where there are
            some, description (JSON).
        trainer, place, init, seed: see `guidekit.training.token_job.fit`, also for what is returned and raised.
    """
    begun = begin(prepared, trainer, place, init, seed)
    if begun is None:
        return None
    data, description, made_from, done = begun
    made = trainer["network"]
    graph, properties, joint = description["graph"], description.get("properties", []), trainer["joint"]
    kinds, edges = len(graph["nodes"]), len(graph["edges"])
    layout = Layout(graph["most"], kinds, edges, len(properties) if joint else 0)
    options = {**made["options"], "nodes": graph["most"], "node_types": kinds, "edge_types": edges}
    options |= {"valences": description.pop("valences", []), "stems": len(properties)}
    options |= {"labels": [len(label["values"]) for label in description["labels"]]} if "labels" in description else {}
    description |= {"process": trainer["process"], "joint": joint, "marginals": marginals(data["tokens"], kinds, edges)}
    network = first_network(trainer, options, description["domain"], init, seed)
    levels = trainer["levels"] and tuple(trainer["levels"])
    objective = AdjacencyError(
        gaussian_process_from(description),
        layout,
        description["marginals"],
        0 if joint else len(properties),
        trainer["pairs_weight"],
        trainer["properties_weight"],
        levels,
    )
    settings = {key: trainer[key] for key in ("learning_rate", "warmup", "decay", "ema", "label_dropout", "optimizer")}
    module = DenoisingModule(network, objective, total_steps=trainer["steps"], gradient_clip=2.0, seed=seed, **settings)
    description |= {"network": {"name": made["name"], "options": options}, "event_shape": [layout.length]}
    size = trainer["batch_size"]
    batches = []
    for name, count in (("", None), ("val_", max(1, len(data["val_tokens"]) // size))):
        states = stated(data[f"{name}tokens"], data.get(f"{name}properties"), layout, description)
        told = np.zeros((len(states), len(properties)), np.int8) if properties else data.get(f"{name}labels")
        batches.append(Arrays(states, told, size, seed if count is None else 0, count, 1, 0 if count else done))
    loaders = (DataLoader(batches[0], batch_size=None), DataLoader(batches[1], batch_size=None))
    return loop.run(module, loaders, trainer, place, made_from, done, description)


def marginals(tokens: np.ndarray, kinds: int, edges: int) -> list[float]:
    """Shares of the types of nodes and, apart, of "no edge" and the types of edges in tokens (n, L)."""
    counts = np.bincount(tokens.ravel(), minlength=2 + kinds + edges)[1:].astype(float)
    of_nodes, of_pairs = counts[:kinds], counts[kinds:]
    return np.concatenate([of_nodes / of_nodes.sum(), of_pairs / max(of_pairs.sum(), 1)]).round(6).tolist()


def stated(
    tokens: np.ndarray, properties: np.ndarray | None, layout: Layout, description: Mapping[str, Any]
) -> np.ndarray:
    """Clean states (n, D) float32 of tokens (n, L), with properties (n, K) behind them, in the unit of states."""
    states = layout.encode(torch.from_numpy(tokens.astype(np.int64))).numpy()
    if properties is None:
        return states
    mean, std = (np.array([each[key] for each in description["properties"]]) for key in ("mean", "std"))
    graphs = states[:, : layout.length - layout.stems]
    return np.concatenate([graphs, PROPERTY_SCALE * (properties - mean) / std], 1).astype(np.float32)


if __name__ == "__main__":
    sys.exit(loop.main(fit, sys.argv[1]))
