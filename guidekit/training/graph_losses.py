"""The loss of priors of graphs: cross-entropies of nodes and of pairs, each as a mean, pairs with more weight."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from guidekit.priors.graphs import believed
from guidekit.processes import DiscreteProcess
from guidekit.training.objectives import strata

EARLIEST = 1e-3
"""Least time, and share of what is lost, that priors of graphs are trained at."""


@dataclasses.dataclass(frozen=True)
class GraphCrossEntropy:
    """Mean cross-entropy of the nodes of a graph that are in doubt, and `pairs` times that of all its pairs.

    Times are stratified over the batch and uniform.

    Args:
        process: forward process, with an id pinned that stands for what is absent.
        nodes: N, number of places of nodes, which come first.
        pairs: weight of the pairs.
        earliest: least time drawn, above 0.

    Source: Vignac et al. 2022, arXiv:2209.14734, eq. 2 (weight 5).
    """

    process: DiscreteProcess
    nodes: int
    pairs: float = 5.0
    earliest: float = EARLIEST

    def __call__(
        self, network: nn.Module, tokens: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Loss (B,) in nats for clean tokens (B, L) int64 with labels (B, K)."""
        t = self.earliest + (1 - self.earliest) * strata(len(tokens), tokens.device, generator).double()
        u = torch.rand(tokens.shape, generator=generator, device=tokens.device, dtype=torch.float64)
        z = self.process.noise(tokens, t, u)
        absent = tokens.eq(-1 if self.process.pinned is None else self.process.pinned)
        z = torch.where(absent, tokens, z)
        level = 1 - torch.as_tensor(self.process.alpha(t)).float()
        log_probs = believed(self.process, network(z, labels=labels, level=level).float(), z).log_probs
        nats = -log_probs.gather(-1, tokens[..., None])[..., 0]
        open_ = log_probs.isfinite().sum(-1) > 1
        doubt = torch.cat([open_[:, : self.nodes], ~absent[:, self.nodes :]], 1)
        nats = torch.where(open_, nats, 0.0)
        means = [
            torch.where(doubt[:, part], nats[:, part], 0.0).sum(1) / doubt[:, part].sum(1).clamp_min(1)
            for part in (slice(0, self.nodes), slice(self.nodes, None))
        ]
        return means[0] + self.pairs * means[1]


__all__ = ["EARLIEST", "GraphCrossEntropy"]
