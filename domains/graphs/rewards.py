"""Rewards of graphs: frozen, callable on a networkx graph, higher is better; targets are met at 0."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from typing import Any, ClassVar

import networkx as nx
import numpy as np

from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.objectives.objects import ObjectReward

from .descriptors import eigenvalues
from .expected import ExpectedEdges, ExpectedModularity, ExpectedTriangles
from .molecules import is_molecular, molecule_of


@dataclasses.dataclass(frozen=True)
class Measure:
    """Base of numbers of a graph: the number itself, or minus its distance to a target.

    Args:
        target: wanted; null = as large as can be.

    Raises:
        ValueError: the target is not finite.
    """

    target: float | None = None
    temperature: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no target."""
        if self.target is not None and not math.isfinite(self.target):
            raise ValueError(f"target={self.target}; a finite number is expected")

    @property
    def floor(self) -> float | None:
        """Counts are never negative; distances may be any."""
        return 0.0 if self.target is None else None

    def measure(self, graph: nx.Graph) -> float:
        """The number."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement measure")

    def __call__(self, graph: nx.Graph) -> float:
        """The reward of one graph."""
        value = float(self.measure(graph))
        return value if self.target is None else -abs(value - self.target)


@dataclasses.dataclass(frozen=True)
class Edges(Measure):
    """Number of edges, or minus its distance to a target."""

    name: ClassVar[str] = "edges"

    def measure(self, graph: nx.Graph) -> float:
        """See the class."""
        return graph.number_of_edges()


@dataclasses.dataclass(frozen=True)
class Triangles(Measure):
    """Number of triangles, or minus its distance to a target."""

    name: ClassVar[str] = "triangles"

    def measure(self, graph: nx.Graph) -> float:
        """See the class."""
        return sum(nx.triangles(graph).values()) / 3


@dataclasses.dataclass(frozen=True)
class Density(Measure):
    """Edges as a share of all pairs of nodes, or minus its distance to a target."""

    name: ClassVar[str] = "density"
    temperature: ClassVar[float] = 0.01

    def measure(self, graph: nx.Graph) -> float:
        """See the class."""
        return nx.density(graph)


@dataclasses.dataclass(frozen=True)
class Clustering(Measure):
    """Mean clustering coefficient of the nodes, or minus its distance to a target."""

    name: ClassVar[str] = "clustering"
    temperature: ClassVar[float] = 0.02

    def measure(self, graph: nx.Graph) -> float:
        """See the class."""
        return nx.average_clustering(graph)


@dataclasses.dataclass(frozen=True)
class Modularity(Measure):
    """Modularity of the communities that Louvain's method finds, or minus its distance to a target."""

    name: ClassVar[str] = "modularity"
    temperature: ClassVar[float] = 0.02

    @property
    def floor(self) -> float | None:
        """It can be negative."""
        return None

    def measure(self, graph: nx.Graph) -> float:
        """See the class; 0 without edges."""
        if graph.number_of_edges() == 0:
            return 0.0
        return nx.community.modularity(graph, nx.community.louvain_communities(graph, seed=0))


@dataclasses.dataclass(frozen=True)
class MeanDegree(Measure):
    """Mean number of neighbors, or minus its distance to a target."""

    name: ClassVar[str] = "mean_degree"
    temperature: ClassVar[float] = 0.1

    def measure(self, graph: nx.Graph) -> float:
        """See the class."""
        return 2 * graph.number_of_edges() / graph.number_of_nodes()


@dataclasses.dataclass(frozen=True)
class LargestDegree(Measure):
    """Largest number of neighbors, or minus its distance to a target."""

    name: ClassVar[str] = "largest_degree"

    def measure(self, graph: nx.Graph) -> float:
        """See the class."""
        return max(degree for _, degree in graph.degree)


@dataclasses.dataclass(frozen=True)
class Diameter(Measure):
    """Longest of the shortest paths, of the largest component, or minus its distance to a target."""

    name: ClassVar[str] = "diameter"

    def measure(self, graph: nx.Graph) -> float:
        """See the class."""
        return nx.diameter(graph.subgraph(max(nx.connected_components(graph), key=len)))


@dataclasses.dataclass(frozen=True)
class Nodes(Measure):
    """Number of nodes, or minus its distance to a target; `domain.num_nodes` asks for one number with certainty."""

    name: ClassVar[str] = "nodes"

    def measure(self, graph: nx.Graph) -> float:
        """See the class."""
        return graph.number_of_nodes()


@dataclasses.dataclass(frozen=True)
class SpectralGap(Measure):
    """Second smallest eigenvalue of the normalized Laplacian, 0 where the graph is not connected."""

    name: ClassVar[str] = "spectral_gap"
    temperature: ClassVar[float] = 0.02

    def measure(self, graph: nx.Graph) -> float:
        """See the class."""
        values = np.sort(eigenvalues(graph))
        return float(max(values[1], 0.0)) if len(values) > 1 else 0.0


@dataclasses.dataclass(frozen=True)
class Connected:
    """1 for connected graphs, 1 / (number of components) for others."""

    name: ClassVar[str] = "connected"
    floor: ClassVar[float] = 0.0
    temperature: ClassVar[float] = 0.1

    def __call__(self, graph: nx.Graph) -> float:
        """See the class."""
        return 1 / nx.number_connected_components(graph)


@dataclasses.dataclass(frozen=True)
class Planar:
    """1 for graphs that can be drawn without crossings, 0 for others."""

    name: ClassVar[str] = "planar"
    floor: ClassVar[float] = 0.0
    temperature: ClassVar[float] = 0.1

    def __call__(self, graph: nx.Graph) -> float:
        """See the class."""
        return float(nx.check_planarity(graph)[0])


@dataclasses.dataclass(frozen=True)
class Acyclic:
    """1 for graphs without a cycle; 1 / (1 + independent cycles) for others."""

    name: ClassVar[str] = "acyclic"
    floor: ClassVar[float] = 0.0
    temperature: ClassVar[float] = 0.1

    def __call__(self, graph: nx.Graph) -> float:
        """See the class."""
        cycles = graph.number_of_edges() - graph.number_of_nodes() + nx.number_connected_components(graph)
        return 1 / (1 + cycles)


class OfMolecules(ObjectReward):
    """A reward of graphs that are molecules."""

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: the prior must be of molecules."""
        codec: Any = prior.codec
        if codec is not None and not is_molecular(codec):
            raise GuidanceError(f"reward {self.name} is of molecules, and graphs of this prior ({prior.name}) are none")


def _molecular(kind: type) -> type:
    """A reward of molecules as one of their graphs, with the same options."""

    def call(self: Any, graph: nx.Graph) -> float:
        molecule = molecule_of(graph)
        if molecule is None:
            raise ValueError("is of molecules, and this graph is none")
        return kind.__call__(self, molecule)  # type: ignore[operator]

    held = {"__call__": call, "__doc__": kind.__doc__, "__module__": __name__, "__qualname__": kind.__name__}
    return type(kind.__name__, (kind,), held)


MEASURES = (
    Edges, Triangles, Density, Clustering, Modularity, MeanDegree, LargestDegree, Diameter, Nodes, SpectralGap,
    Connected, Planar, Acyclic, ExpectedEdges, ExpectedTriangles, ExpectedModularity,
)  # fmt: skip
MOLECULES: tuple[str, ...] = ()
"""Names of those that are of molecules."""
REWARDS: dict[str, Any] = {reward.name: reward for reward in MEASURES}
"""By name; those of the domain molecules, too, where rdkit is there."""
if importlib.util.find_spec("rdkit") is not None:
    from guidekit.domains.molecules.rewards import REWARDS as MOLECULAR

    for _name, _kind in MOLECULAR.items():
        REWARDS[_name] = globals()[_kind.__name__] = _molecular(_kind)
    MOLECULES = tuple(MOLECULAR)
