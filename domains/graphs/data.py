"""Where graphs come from: standard sets by name, QM9, and files; and what priors are trained on."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

from guidekit.extras import require
from guidekit.training.graph_losses import EARLIEST

from . import labels, preparation
from .codec import GraphCodec, codec_of
from .files import read_graphs
from .generators import FAMILIES, SEED, dataset, family, generate
from .molecules import BONDS, graphs_of, molecule_codec

QM9 = "qm9"
MANY = 5_000
"""Graphs to train on of sets whose graphs are drawn as often as one likes; the others have their standard number."""
PLENTY = ("planar", "tree")
NOISY = ("community", "sbm")
"""Sets whose edges are noise in part, so that nothing tells when a graph is complete."""
WHERE_NOISY = {"name": "insertion", "options": {"last": EARLIEST, "margin": 2.0}}
"""The sampler that suits them: it stays where the prior was trained."""
HELD = 0.1
"""Share of a file's graphs that is held out, where `trainer.validation` is more."""


class Given(NamedTuple):
    """Graphs to train on and to hold out, their codec, labels in the file, where they come from, a noisy set or not."""

    train: Sequence[nx.Graph]
    held: Sequence[nx.Graph]
    codec: GraphCodec
    own: list[str] | None
    source: str
    dataset: str
    noisy: bool = False


def training(kind: str, split: int, data: str | None, trainer: Mapping[str, Any], reading: Mapping[str, str]) -> Given:
    """What a prior is trained on.

    Args:
        kind: set that is meant where no file is.
        split: seed of the set, see `generators.dataset`.
        data: file or folder, or a name of a set; None is `kind`.
        trainer: settings of configs/trainer/graphs.yaml; `graphs` is how many of a set.
        reading: options of `files.read_graphs`.

    Raises:
        UnknownNameError: no such set.
        ValueError: unreadable data, or too few graphs to hold some out.
    """
    if data is not None and (Path(data).exists() or "." in str(data) or "/" in str(data)):
        return _of_file(Path(data), trainer, reading)
    name, held = data or kind, trainer["validation"]
    if name == QM9:
        return _of_qm9(trainer.get("graphs"), held)
    head, nodes = family(name)
    wanted = trainer.get("graphs") or (MANY if head in PLENTY else None)
    train, rest = dataset(name, "train", wanted, split), dataset(name, "validation", seed=split)
    if wanted and head in PLENTY and len(rest) < held:
        rest = rest + generate(name, held - len(rest), split, first=FAMILIES[head].count + wanted)
    codec = codec_of(train, max(nodes if head in ("community", "sbm") else 0, *map(len, train), *map(len, rest)))
    return Given(train, rest, codec, None, f"{name} graphs ({FAMILIES[head].told}), split {split}", name, head in NOISY)


def prepare(path: Path, given: Given, names: Sequence[str]) -> None:
    """Write what `guidekit.training.graph_job` trains from, see `preparation.prepare`.

    Args:
        path: npz file to write.
        given: graphs.
        names: of labels, see `labels.table`.
    """
    molecular = given.codec.edge_types == BONDS
    found = None
    if names:
        described, numbers = labels.table([*given.train, *given.held], len(given.train), names, given.own, molecular)
        found = (described, numbers[: len(given.train)], numbers[len(given.train) :])
    valences = (1.0, 2.0, 3.0) if molecular else ()
    preparation.prepare(
        path,
        given.train,
        given.held,
        given.codec,
        given.source,
        dataset=given.dataset,
        valences=valences,
        labels=found,
        sampling=WHERE_NOISY if given.noisy else None,
    )


def prepare_adjacency(path: Path, given: Given, names: Sequence[str], properties: Sequence[str]) -> None:
    """Write what `guidekit.training.adjacency_job` trains from, see `preparation.prepare_adjacency`.

    Args:
        path: npz file to write.
        given: graphs.
        names, properties: of labels, see `labels.table`, or of numbers of a graph, see `labels.numbers`.

    Raises:
        UnknownNameError, ValueError: no such property, one that is alike in all graphs, or labels beside properties.
    """
    if names and properties:
        raise ValueError("trainer.labels and trainer.properties are both given; a prior has one of them")
    prepare(path, given._replace(noisy=False), names)
    if properties:
        count = len(given.train)
        numbers = labels.numbers([*given.train, *given.held], properties)
        preparation.add_properties(path, properties, numbers[:count], numbers[count:])


@functools.lru_cache(maxsize=8)
def known(name: str, split: str, seed: int = SEED) -> tuple[nx.Graph, ...]:
    """Graphs of a standard set that samples are compared with, or that priors were trained on."""
    head = family(name)[0]
    return tuple(dataset(name, split, MANY if split == "train" and head in PLENTY else None, seed))


def atoms(graphs: Sequence[nx.Graph]) -> list[str]:
    """Types of atoms, the most frequent first."""
    counts: dict[str, int] = {}
    for graph in graphs:
        for _, kind in graph.nodes(data="type"):
            counts[kind] = counts.get(kind, 0) + 1
    return sorted(counts, key=lambda kind: (-counts[kind], kind))


def _of_qm9(wanted: int | None, held: int) -> Given:
    """QM9, the molecules that `molecules.data.reference_smiles` names held out, in part."""
    require("molecules", "rdkit.Chem")
    from guidekit.domains.molecules.data import QM9_HELD, shuffled_training_smiles

    smiles = shuffled_training_smiles(QM9)
    first, last = smiles[: -QM9_HELD or None][:wanted], smiles[-QM9_HELD:][:held]
    train, rest = graphs_of(first)[0], graphs_of(last)[0]
    codec = molecule_codec(atoms([*train, *rest]), max(map(len, train)))
    return Given(train, rest, codec, None, "molecules of QM9", QM9)


def _of_file(path: Path, trainer: Mapping[str, Any], reading: Mapping[str, str]) -> Given:
    found = read_graphs(path, **reading)
    count = len(found.graphs)
    held = min(trainer["validation"], max(1, int(HELD * count)))
    if count < 10:
        raise ValueError(f"{path.name} holds {count} graphs; 10 at least are needed to learn from and to hold some out")
    order = np.random.default_rng(0).permutation(count)
    graphs = [found.graphs[i] for i in order]
    own = None if found.labels is None else [found.labels[i] for i in order]
    places = max(map(len, graphs))
    codec = molecule_codec(atoms(graphs), places) if found.molecular else codec_of(graphs, places)
    source = f"graphs of {path.name}" + (f"; {found.notes}" if found.notes else "")
    train = graphs[: count - held]
    return Given(train, graphs[count - held :], codec, own, source, path.name)
