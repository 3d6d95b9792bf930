"""The domain of graphs: sets, priors, rewards, files, figures and the field's metrics."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.examples import Example
from guidekit.extras import require
from guidekit.priors.adjacency import AdjacencyPrior
from guidekit.priors.checkpoints import load_adjacency_prior, load_graph_prior, read_description
from guidekit.priors.graphs import GraphPrior
from guidekit.reporting.summary import means, ranked, summarised
from guidekit.samples import Dataset, Samples

from . import data as sets
from . import files, formats, metrics
from .codec import AdjacencyCodec, GraphCodec, codec_from
from .generators import SEED, family
from .labels import MEASURES, numbers
from .molecules import BONDS, is_molecular, is_molecule, molecule_codec, molecule_of, smiles_of
from .rewards import MOLECULES, REWARDS, OfMolecules
from .validity import fingerprint, validity
from .vocabulary import vocabulary_from

ASSETS = Path(__file__).parent / "assets"
FIRST = "tree-9-12"
"""The set that is meant where none is named."""
QM9_ATOMS, QM9_NODES = ("C", "O", "N", "F", "N+", "O-", "C-", "N-"), 9


@dataclasses.dataclass(frozen=True)
class Graphs(Domain):
    """Graphs as networkx objects with nodes 0 .. n - 1 and the attribute `type` of nodes and edges, where there is one.

    Args:
        kind: set of graphs: planar-20, tree-32, community-small, sbm, grid, lobster, with any number of nodes, or qm9;
            None is that of the prior.
        split: seed of the set and of its split.
        num_nodes: nodes of all samples; None draws their number as in the training data.
        directed: files with directed graphs: "refuse", or "undirected" to forget the directions.
        node_type, edge_type: attributes of files that hold the types.

    Raises:
        UnknownNameError, ValueError: no such set, or an option that is none.
    """

    kind: str | None = None
    split: int = SEED
    num_nodes: int | None = None
    directed: str = "refuse"
    node_type: str = "type"
    edge_type: str = "type"
    name = "graphs"
    objects = "graphs"
    suffix = ".npz"
    assets = ASSETS
    kinds = REWARDS
    job = "graph_job"
    jobs = {"adjacency": "adjacency_job"}  # noqa: RUF012

    def __post_init__(self) -> None:
        """Refuse what is no set, and a lack of libraries."""
        require(self.name, "scipy")
        if self.kind is not None and self.kind != sets.QM9:
            family(self.kind)
        if self.directed not in files.DIRECTED:
            raise ValueError(f"domain.directed={self.directed!r}; refuse or undirected is expected")

    def examples(self) -> Sequence[Example]:
        """See `Domain.examples`."""
        from .examples import EXAMPLES

        return EXAMPLES

    @property
    def default(self) -> str:
        """See `Domain.default`: the prior of the set."""
        return self.kind or FIRST

    @property
    def reading(self) -> dict[str, str]:
        """Options of `files.read_graphs`."""
        return {"directed": self.directed, "node_type": self.node_type, "edge_type": self.edge_type}

    @property
    def codec(self) -> GraphCodec:
        """Of the set."""
        if self.default == sets.QM9:
            return molecule_codec(QM9_ATOMS, QM9_NODES)
        return GraphCodec(family(self.default)[1])

    def load_prior(self, name: str = "default") -> GraphPrior | AdjacencyPrior:
        """See `Domain.load_prior`; `num_nodes` is asked of it."""
        path = self.checkpoint(name)
        description = read_description(path, self.name)
        load = load_adjacency_prior if "marginals" in description else load_graph_prior
        prior: GraphPrior | AdjacencyPrior = load(path, self.name)
        prior.codec = self.codec_for(prior, description)
        return prior.sized(self.num_nodes)

    def codec_for(self, prior: Prior, description: Mapping[str, Any]) -> GraphCodec | AdjacencyCodec:
        """See `Domain.codec_for`: graphs with single, double and triple bonds are molecules, and valences hold."""
        vocabulary = vocabulary_from(description)
        codec = codec_from(vocabulary, is_molecule if tuple(vocabulary.edges) == BONDS else None)
        if not isinstance(prior, AdjacencyPrior):
            return codec
        names = [each.name for each in prior.properties] if prior.layout.stems else []

        def measured(graphs: Sequence[nx.Graph]) -> Tensor:
            return torch.stack(
                [prior.scaled(dict(zip(names, row, strict=True))) for row in numbers(graphs, names).tolist()]
            )

        return AdjacencyCodec(codec, prior.layout, measured if names else None)

    def bind(self, function: Any, name: str | None = None, **isolation: Any) -> Objective:
        """See `Domain.bind`; rewards of molecules are refused for other graphs."""
        if (
            getattr(function, "name", "") in MOLECULES
            and type(function).__module__ == OfMolecules.__module__
            and not isolation.get("workers")
        ):
            return OfMolecules(function, name or str(function.name))
        return super().bind(function, name, **isolation)

    def set_of(self, prior: Prior | None) -> str:
        """The set that samples of a prior are compared with; empty for data of users."""
        known = self.kind or (FIRST if prior is None else prior.dataset)
        try:
            if known != sets.QM9:
                family(known)
        except ValueError:
            return ""
        return known

    def reference(self, *, split: str = "test", prior: Prior | None = None) -> list[nx.Graph]:
        """Graphs of the standard split of the set that a prior was made from; for QM9 the first 500 held-out ones."""
        name = self.set_of(prior)
        if name == sets.QM9:
            from guidekit.domains.molecules.data import reference_smiles

            return sets.graphs_of(reference_smiles(500, sets.QM9))[0] if split == "test" else []
        return list(sets.known(name, split, self.split)) if name else []

    def read_samples(self, path: str | Path, column: str | None = None, prior: Prior | None = None) -> Dataset:
        """Generated graphs of a file or of a run's folder; those that cannot be used count as invalid."""
        if column is not None:
            raise ValueError(f"column={column!r}: graphs have no columns")
        return self.read_reference(path, prior=prior)

    def read_reference(self, path: str | Path, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """Real graphs: of a file, see `files.read_graphs`, or the test part of a set by name."""
        if not Path(path).exists() and "." not in str(path) and "/" not in str(path):
            return Dataset(dataclasses.replace(self, kind=str(path)).reference(prior=prior))
        found = files.read_graphs(path, on_error=on_error, **self.reading)
        return Dataset(found.graphs, notes=found.notes)

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """Write what `guidekit.training.graph_job` or `adjacency_job` trains from, see `data.training`."""
        given = sets.training(self.default, self.split, data, trainer, self.reading)
        labels, properties = (
            [names] if isinstance(names, str) else list(names)
            for names in (trainer.get(key) or [] for key in ("labels", "properties"))
        )
        if trainer.get("kind") == "adjacency":
            return sets.prepare_adjacency(path, given, labels, properties)
        sets.prepare(path, given, labels)
        return None

    def line(self, one: nx.Graph) -> str:
        """See `Domain.line`: node-link JSON."""
        return json.dumps(nx.node_link_data(one))

    def evaluate(
        self,
        objects: Sequence[nx.Graph | None],
        reference: Sequence[nx.Graph] | None = None,
        *,
        training: Sequence[nx.Graph] | None = None,
        prior: Prior | None = None,
        condition: Any = None,
        labels: Sequence[int] | None = None,
        kernel: str = "tv",
        exact: bool = True,
        fcd: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        """The field's figures, see `metrics.evaluate`; for molecules `metrics.evaluate_molecules`.

        Args:
            objects: None = invalid.
            reference: real graphs; None are the test part of the set of the prior.
            training: what the prior was trained on; None likewise, and nothing where a reference is given and no prior.
            prior: that made them; None is the default one.
            condition, labels: not judged.
            kernel: "tv" or "emd", of distances.
            exact: whether the figures of an exact sampler of the set stand beside.
            fcd: whether the Frechet ChemNet distance is computed for molecules.
            options: none.
        """
        name = self.set_of(prior)
        codec: Any = self.codec if prior is None else prior.codec
        if is_molecular(codec):
            return self._evaluate_molecules(list(objects), reference, training, name, fcd)
        known = name if reference is None or self.kind else ""
        if reference is None:
            reference = self.reference(prior=prior)
        if training is None:
            training = self.reference(split="train", prior=prior) if known or prior is not None else ()
        return metrics.evaluate(list(objects), reference, training, known, kernel, exact)

    def _evaluate_molecules(
        self,
        objects: list[nx.Graph | None],
        reference: Sequence[nx.Graph] | None,
        training: Sequence[nx.Graph] | None,
        name: str,
        fcd: bool,
    ) -> dict[str, Any]:
        """Of molecules: the sets are compared as SMILES, those of QM9 without making graphs of them."""

        def texts(graphs: Sequence[nx.Graph] | None, shipped: Any) -> list[str]:
            if graphs is None:
                return shipped() if name == sets.QM9 else []
            return [text for text in map(smiles_of, graphs) if text is not None]

        from guidekit.domains.molecules.data import qm9_smiles, reference_smiles

        tested = texts(reference, lambda: reference_smiles(data=sets.QM9))
        return metrics.evaluate_molecules(objects, tested, texts(training, qm9_smiles), fcd)

    def write(self, folder: Path, samples: Samples, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.npz and samples.graphml of the valid graphs, and samples.smi of molecules."""
        valid = [i for i, graph in enumerate(samples.objects) if graph is not None]
        if not valid:
            return []
        graphs = [samples.objects[i] for i in valid]
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        formats.to_npz(folder / "samples.npz", graphs, {"index": valid, **kept})
        formats.to_graphml(folder / "samples.graphml", graphs)
        written = ["samples.npz", "samples.graphml"]
        if is_molecular(_codec(samples)):
            from guidekit.domains.molecules.files import write_smi

            write_smi(
                folder / "samples.smi", [str(smiles_of(one)) for one in graphs], [f"sample-{i:05d}" for i in valid]
            )
            written.append("samples.smi")
        return written

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """One row a sample: whether it is valid, its SMILES or whether it is of the set, and numbers of the graph.

        Properties that the prior knows are among the numbers.
        """
        names = [each.name for each in getattr(samples.prior, "properties", ())]
        name, molecular = self.set_of(samples.prior), is_molecular(_codec(samples))
        accepted = None if not name or molecular else validity(name)
        rows = []
        for graph in samples.objects:
            row: dict[str, Any] = {"valid": graph is not None}
            if molecular:
                row["smiles"] = "" if graph is None else smiles_of(graph)
            row["connected"] = graph is not None and nx.is_connected(graph)
            if accepted is not None:
                row["of_family"] = graph is not None and accepted(graph)
            told = dict.fromkeys((*names, *NUMBERS), math.nan)
            if graph is not None:
                told = dict(zip(names, numbers([graph], names)[0].tolist(), strict=True)) | metrics.counts(graph)
            rows.append(row | told)
        return rows

    def summary(
        self, rows: Sequence[Mapping[str, Any]], values: Sequence[float], samples: Samples | None = None
    ) -> dict[str, float]:
        """Figures for the closing table: shares, rewards and mean numbers of distinct valid graphs."""
        marks: Sequence[Any] = range(len(rows))
        if samples is not None:
            marks = [None if graph is None else fingerprint(graph) for graph in samples.objects]
        figures, kept = summarised(
            [{**row, "mark": mark} for row, mark in zip(rows, marks, strict=True)], values, "mark"
        )
        shares = {
            key: sum(row[key] for row in rows) / len(rows) for key in ("connected", "of_family") if key in rows[0]
        }
        known = [name for name in MEASURES if name in rows[0] and name not in NUMBERS]
        return {**figures, **shares, **means(kept, (*NUMBERS, *known))}

    def figure(
        self,
        samples: Samples,
        values: Sequence[float],
        label: str,
        path: Path,
        *,
        unguided: tuple[Samples, Sequence[float]] | None = None,
        objective: Objective | None = None,
    ) -> str | None:
        """The best graphs with their rewards, beside unguided ones; molecules as their formulas."""
        groups = [("samples" if unguided is None else "guided", samples, values)]
        groups += [] if unguided is None else [("unguided", *unguided)]
        chosen = [(name, ranked(group.objects, scores, _mark)) for name, group, scores in groups]
        if not any(found for _, found in chosen):
            return None
        if is_molecular(_codec(samples)):
            from guidekit.domains.molecules.figures import grid

            best = chosen[0][1][:16] or chosen[-1][1][:16]
            drawn: list[Any] = [molecule_of(graph) for _, graph in best]  # ranked: all are valid
            grid(drawn, [_told(label, value) for value, _ in best], path=path)
            return path.name
        from .figures import MOST, draw

        draw([(n, [g for _, g in f[:MOST]], [_told(label, v) for v, _ in f[:MOST]]) for n, f in chosen], path)
        return path.name


NUMBERS = ("nodes", "edges", "components", "triangles")
"""Of `metrics.counts`."""


def _codec(samples: Samples) -> Any:
    return samples.prior.codec


def _mark(graph: nx.Graph | None) -> Any:
    return None if graph is None else fingerprint(graph)


def _told(label: str, value: float) -> str:
    return f"{label} {value:.3g}" if math.isfinite(value) else ""
