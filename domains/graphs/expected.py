"""Numbers of edges and triangles, and modularity, with a gradient, of graphs without types.

`relaxed(probabilities)` takes the laws (B, L, 4) of tokens (absent, node, no edge, edge): what independent edges give
on average.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError

from .codec import pairs

IDS, EDGE = 4, 3
"""Ids of graphs without types, and that of an edge."""


@dataclasses.dataclass(frozen=True, eq=False)
class Expected(Objective[None]):
    """Base of numbers of clean graphs, or minus the distance to a target, smooth near it.

    Args:
        target: wanted; null = as large as can be.
    """

    target: float | None = None
    differentiable: ClassVar[bool] = True  # type: ignore[misc]
    temperature: ClassVar[float] = 1.0  # type: ignore[misc]
    of_numbers: ClassVar[bool] = True
    """Whether it judges graphs as real numbers, too."""
    near: ClassVar[float] = 1.0
    """Distance from a target below which the distance is smooth, in the unit of the number."""

    def __post_init__(self) -> None:
        """Refuse what is no target."""
        if self.target is not None and not math.isfinite(self.target):
            raise ValueError(f"target={self.target}; a finite number is expected")

    def number(self, edges: Tensor) -> Tensor:
        """The number (B,) of probabilities of edges (B, N, N)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement number")

    @property
    def floor(self) -> float | None:  # type: ignore[override]
        """Counts are never negative; distances may be any."""
        return 0.0 if self.target is None else None

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Values (B,) of laws of tokens (B, L, 4); with a target t of a number x, r - sqrt((x - t)^2 + r^2)."""
        return self.met(self.number(edge_probabilities(probabilities)))

    def met(self, value: Tensor) -> Tensor:
        """The reward (B,) of numbers (B,), see `relaxed`."""
        if self.target is None:
            return value
        return self.near - ((value - self.target).square() + self.near**2).sqrt()

    def scores(self, states: Tensor, t: Number, rows: None) -> Tensor:
        """See `Objective.scores`; minus infinity where a token is still masked."""
        if states.is_floating_point():
            return self.met(self.number(edge_numbers(states)))
        values = self.relaxed(F.one_hot(states.clamp_max(IDS - 1), IDS).double())
        return values.masked_fill((states >= IDS).any(1), -math.inf)

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: graphs without types."""
        layout = getattr(prior, "layout", None)  # of graphs as real numbers
        ids = getattr(prior.process, "vocab_size", 0) if layout is None else 2 + layout.node_types + layout.edge_types
        if ids != IDS:
            plain = str(self.name).removeprefix("expected_")
            raise GuidanceError(
                f"reward {self.name} is of graphs without types, and tokens of this prior ({prior.name}) have {ids} "
                f"ids; reward={plain} is of any graphs, without a gradient"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class ExpectedEdges(Expected):
    """Number of edges, or minus its distance to a target; with a gradient, of graphs without types."""

    name: ClassVar[str] = "expected_edges"  # type: ignore[misc]

    def number(self, edges: Tensor) -> Tensor:
        """See the class."""
        return edges.sum((1, 2)) / 2


@dataclasses.dataclass(frozen=True, eq=False)
class ExpectedTriangles(Expected):
    """Number of triangles, or minus its distance to a target; with a gradient, of graphs without types."""

    name: ClassVar[str] = "expected_triangles"  # type: ignore[misc]

    def number(self, edges: Tensor) -> Tensor:
        """See the class."""
        return ((edges @ edges) * edges).sum((1, 2)) / 6


@dataclasses.dataclass(frozen=True, eq=False)
class ExpectedModularity(Expected):
    """Modularity of the best split in two by a spectrum, or minus its distance to a target; with a gradient.

    The split is that by the signs of the leading eigenvector of the modularity matrix, and is taken as it is: the
    gradient is that of the modularity of this split. Louvain's method (`modularity`) may find a better one.

    Source: Newman 2006, arXiv:physics/0602124, eq. 2 and 5.
    """

    name: ClassVar[str] = "expected_modularity"  # type: ignore[misc]
    temperature: ClassVar[float] = 0.02  # type: ignore[misc]
    near: ClassVar[float] = 0.02

    @property
    def floor(self) -> float | None:  # type: ignore[override]
        """It can be negative."""
        return None

    def number(self, edges: Tensor) -> Tensor:
        """See the class; 0 without edges."""
        degree = edges.sum(-1)
        total = degree.sum(-1).clamp_min(1e-9)
        surplus = edges - degree[:, :, None] * degree[:, None, :] / total[:, None, None]
        with torch.no_grad():
            leading = torch.linalg.eigh(surplus.double())[1][..., -1]
            together = (leading[:, :, None] * leading[:, None, :] >= 0).to(edges)
        return (surplus * together).sum((1, 2)) / total


def edge_numbers(states: Tensor) -> Tensor:
    """Of every pair of nodes, (B, N, N), from real-valued states (B, D) of graphs without types.

    They hold N numbers of nodes, those of pairs, and then at most N properties.
    """
    nodes = (math.isqrt(8 * states.shape[1] + 1) - 1) // 2
    return _matrices(states[:, nodes : nodes * (nodes + 1) // 2], nodes)


def edge_probabilities(probabilities: Tensor) -> Tensor:
    """Of every pair of nodes, (B, N, N), from laws (B, L, 4) of tokens."""
    nodes = (math.isqrt(8 * probabilities.shape[1] + 1) - 1) // 2
    return _matrices(probabilities[:, nodes:, EDGE], nodes)


def _matrices(edges: Tensor, nodes: int) -> Tensor:
    """Symmetric matrices (B, N, N) of numbers of pairs (B, P)."""
    i, j = (torch.from_numpy(end).to(edges.device) for end in pairs(nodes))
    number = torch.full((nodes, nodes), len(i), device=edges.device)
    number[i, j] = number[j, i] = torch.arange(len(i), device=edges.device)
    return torch.cat([edges, edges.new_zeros(len(edges), 1)], 1)[:, number]
