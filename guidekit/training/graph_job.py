"""Trains a prior of graphs from prepared data. Needs torch, lightning, numpy, safetensors and pyyaml only.

On a machine without the domain's libraries: `python -m guidekit.training.graph_job folder/train.yaml`, with a folder
written by `guidekit train ... prepare=folder`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from guidekit.priors.descriptions import process_from
from guidekit.training import loop
from guidekit.training.begin import begin, first_network
from guidekit.training.denoising import DenoisingModule
from guidekit.training.graph_losses import GraphCrossEntropy
from guidekit.training.graph_transitions import transitions
from guidekit.training.place import Place


class TokenRows(IterableDataset):
    """Endless batches of rows of tokens and labels.

    Args:
        tokens: (n, L) integers.
        labels: (n, K) or None.
        batch_size: rows a batch.
        seed: of the order: all rows once, then again in another order.
        batches: end after this many, in the order of the data; None runs for ever at random.
        first: batch to begin with; a batch depends on the seed and its number.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        labels: np.ndarray | None,
        batch_size: int,
        seed: int,
        batches: int | None = None,
        first: int = 0,
    ) -> None:
        self.tokens, self.labels, self.batch_size, self.seed = tokens, labels, batch_size, seed
        self.batches, self.first = batches, first

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches (tokens (B, L) int64, labels (B, K) int64 or None)."""
        size, count = self.batch_size, len(self.tokens)
        for number in itertools.count(self.first) if self.batches is None else range(self.batches):
            rows = np.arange(number * size, (number + 1) * size)
            if self.batches is None:
                rounds = np.unique(rows // count)
                orders = [np.random.default_rng((self.seed, each)).permutation(count) for each in rounds]
                rows = np.concatenate(orders)[rows - rounds[0] * count]
            else:
                rows = rows % count
            labels = None if self.labels is None else torch.from_numpy(self.labels[rows].astype(np.int64))
            yield torch.from_numpy(self.tokens[rows].astype(np.int64)), labels


def fit(
    prepared: Mapping[str, np.ndarray], trainer: dict[str, Any], place: Place, init: str | None, seed: int
) -> dict[str, float] | None:
    """Train, keep a state for resuming and write the averaged weights.

    Args:
        prepared: tokens and val_tokens (n, L), labels and val_labels (n, K) where there are some, description (JSON).
        trainer, place, init, seed: see `guidekit.training.token_job.fit`, also for what is returned and raised.
    """
    begun = begin(prepared, trainer, place, init, seed)
    if begun is None:
        return None
    data, description, made_from, done = begun
    graph, made = description["graph"], trainer["network"]
    description["process"] = transitions(trainer["process"]["name"], graph, data["tokens"])
    description["process"] |= {key: value for key, value in trainer["process"].items() if key == "alpha"}
    process = process_from(description)
    options = {**made["options"], "nodes": graph["most"], "node_types": len(graph["nodes"])}
    options |= {"edge_types": len(graph["edges"]), "valences": description.pop("valences", [])}
    options |= {"labels": [len(label["values"]) for label in description["labels"]]} if "labels" in description else {}
    if trainer["process"]["name"] != "absorbing":
        description.pop("sampling", None)
    network = first_network(trainer, options, description["domain"], init, seed)
    objective = GraphCrossEntropy(process, graph["most"], trainer["pairs_weight"])
    settings = {key: trainer[key] for key in ("learning_rate", "warmup", "decay", "ema", "label_dropout", "optimizer")}
    module = DenoisingModule(network, objective, total_steps=trainer["steps"], gradient_clip=2.0, seed=seed, **settings)
    description |= {"network": {"name": made["name"], "options": options}, "temperature": trainer["temperature"]}
    size = trainer["batch_size"]
    train = TokenRows(data["tokens"], data.get("labels"), size, seed, first=done)
    validation = TokenRows(data["val_tokens"], data.get("val_labels"), size, 0, max(1, len(data["val_tokens"]) // size))
    loaders = (DataLoader(train, batch_size=None), DataLoader(validation, batch_size=None))
    return loop.run(module, loaders, trainer, place, made_from, done, description)


if __name__ == "__main__":
    sys.exit(loop.main(fit, sys.argv[1]))
