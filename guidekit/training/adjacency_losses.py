"""The loss of priors of graphs as real numbers: what edges and nodes are, and properties of the graph, from noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guidekit.core.state import column
from guidekit.priors.adjacency import PROPERTY_SCALE, seen_by
from guidekit.priors.adjacency_layout import Layout
from guidekit.processes import GaussianProcess
from guidekit.training.regression import DenoisingError


@dataclasses.dataclass(frozen=True)
class AdjacencyError:
    """Mean cross-entropies of the types of nodes and, times `pairs`, of edges; squared errors of properties.

    For edges that are 0 or 1 the cross-entropy has its least value at the posterior mean, as the squared error has.

    Args:
        process: forward process.
        layout: of states; its stems are properties that are noised.
        marginals: see `AdjacencyPrior`.
        told: properties behind a state, which are told as they are.
        pairs: weight of edges beside types of nodes.
        properties: weight of a property's squared error, in units of its variance.
        levels: mean and standard deviation of log(s / a); None draws t uniformly on (0, 1).

    Source: weights of Vignac et al. 2022, arXiv:2209.14734 (edges 5), and of the code of Mercatali et al. 2024,
    arXiv:2410.24012 (properties .25).
    """

    process: GaussianProcess
    layout: Layout
    marginals: Sequence[float]
    told: int = 0
    pairs: float = 5.0
    properties: float = 0.25
    levels: tuple[float, float] | None = None

    def __call__(
        self, network: nn.Module, x0: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Loss (B,) for clean states (B, D + told); labels (B, K): with properties, -1 where one is not told."""
        layout, (clean, told) = self.layout, x0.split([self.layout.length, self.told], 1)
        there = layout.there(clean)
        plain = DenoisingError(self.process, levels=self.levels)
        a, s = plain.coefficients(len(x0), x0.device, generator)
        eps = torch.randn(clean.shape, generator=generator, device=x0.device)
        x = column(a, clean) * clean + column(s, clean) * layout.given(there).project(eps)
        known = shown = None
        if labels is not None and layout.stems:
            shown, labels = labels.ge(0), None
        elif labels is not None and self.told:
            known, labels = told.masked_fill(labels < 0, math.nan), None
        seen = seen_by(network, layout, self.marginals, x, a.double(), s.double(), labels, known, shown)
        nats = -seen.log_probs.gather(-1, layout.decode(clean)[..., None])[..., 0].float()
        nodes, pairs = nats.split([layout.nodes, layout.pairs], 1)
        both = layout.both(there)
        loss = self.pairs * torch.where(both, pairs, 0.0).sum(1) / both.sum(1).clamp_min(1)
        if layout.kinds:
            loss = loss + torch.where(there, nodes, 0.0).sum(1) / there.sum(1)
        if seen.properties is not None:
            gap = (seen.properties - layout.split(clean).stems) / PROPERTY_SCALE
            loss = loss + self.properties * gap.square().sum(1).float()
        return loss


__all__ = ["AdjacencyError"]
