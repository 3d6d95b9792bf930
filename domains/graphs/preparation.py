"""Training data of priors of graphs: rows of tokens, and the description of the future checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from guidekit.io.files import write_npz

from .codec import GraphCodec
from .vocabulary import Vocabulary


def prepare(
    path: Path,
    train: Sequence[nx.Graph],
    held: Sequence[nx.Graph],
    codec: GraphCodec,
    source: str,
    *,
    dataset: str = "",
    valences: Sequence[float] = (),
    labels: tuple[Sequence[Mapping[str, Any]], np.ndarray, np.ndarray] | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> None:
    """Write what `guidekit.training.graph_job` trains a prior of graphs from.

    Args:
        path: npz file to write.
        train, held: graphs to learn from, and to measure the error on.
        codec: of both, with the types that there are.
        source: what the data are, for the card.
        dataset: name of the data, see `guidekit.core.prior.Prior.dataset`.
        valences: of the types of edges where they have some: bonds count 1, 2, 3.
        labels: descriptions {name, values} of labels, and their numbers for train (n, K) and held.
        sampling: {name, options} of the sampler that suits a prior whose edges are absorbed; None is the usual one.

    Raises:
        ValueError: no graph in either, or a graph that the codec does not take.
    """
    if not len(train) or not len(held):
        raise ValueError(f"{len(train)} graphs to learn from and {len(held)} to hold out; both need some")
    arrays = {"tokens": tokens(train, codec), "val_tokens": tokens(held, codec)}
    made = vocabulary(codec)
    sizes = (arrays["tokens"][:, : made.most] > 0).sum(1)
    description: dict[str, Any] = {
        "domain": "graphs",
        "vocab_size": made.size,
        "pad_id": 0,
        "length_counts": np.bincount(sizes, minlength=made.most + 1).tolist(),
        "graph": made.described(),
        "dataset": dataset,
        "valences": list(valences),
        "card": {"data": f"{len(train):,} {source}"},
    }
    if sampling is not None:
        description["sampling"] = sampling
    if labels is not None:
        description["labels"] = [dict(each) for each in labels[0]]
        arrays |= {"labels": labels[1], "val_labels": labels[2]}
    write_npz(path, {**arrays, "description": np.array(json.dumps(description))})


def add_properties(path: Path, names: Sequence[str], train: np.ndarray, held: np.ndarray) -> None:
    """Add properties (n, K) of the graphs in a prepared file, with their means and standard deviations.

    Raises:
        ValueError: one that is alike in all graphs.
    """
    mean, std = train.mean(0), train.std(0)
    for name, spread in zip(names, std, strict=True):
        if not spread > 1e-9:
            raise ValueError(f"property {name} is the same for all {len(train)} graphs to learn from; leave it out")
    kept = dict(np.load(path))
    description = json.loads(str(kept.pop("description")))
    columns = zip(names, mean.tolist(), std.tolist(), strict=True)
    description["properties"] = [{"name": name, "mean": m, "std": s} for name, m, s in columns]
    write_npz(
        path, {**kept, "properties": train, "val_properties": held, "description": np.array(json.dumps(description))}
    )


def vocabulary(codec: GraphCodec) -> Vocabulary:
    """The vocabulary of a codec: nodes and edges that are all alike have one type without a meaning."""
    return Vocabulary(codec.places, codec.node_types or ("node",), codec.edge_types or ("edge",))


def tokens(graphs: Sequence[nx.Graph], codec: GraphCodec) -> np.ndarray:
    """Rows (n, L) of the least integers that hold them."""
    rows = codec.encode(graphs).numpy()
    return rows.astype(np.min_scalar_type(int(rows.max())))
