"""Priors of graphs as one row of tokens: the places of nodes, then those of pairs of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guidekit import registry
from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.prior import Time
from guidekit.core.random import Draw
from guidekit.core.requirements import Fact
from guidekit.core.token_kernels import certain
from guidekit.networks.graph_layout import Triangle
from guidekit.priors.denoiser import evaluating
from guidekit.priors.labels import Label
from guidekit.priors.sized import SizedPrior
from guidekit.processes import DiscreteProcess, Kinds

PAIRS_A_CALL = 1 << 16
"""Pairs of nodes in one network call."""


class GraphPrior(SizedPrior):
    """Discrete diffusion of graphs whose number of nodes is drawn first: p(n) p(nodes and edges | n).

    A state is (B, L) with L = N + N (N - 1) / 2 ids; for their meaning see `guidekit.networks.GraphTransformer`. What a
    graph does not have is absent (id 0), known from the start.

    Args:
        network: (tokens (B, L), select, labels, level) -> logits, see `GraphTransformer.forward`.
        process: forward process, with id 0 pinned.
        length_counts: (N + 1,) how often each number of nodes occurred in the training data.
        card: how it was made.
        temperature: logits are divided by it; below 1 sharpens the law of every token.
        labels: what a condition may name; none for an unconditional network.
        sampling: {name, options} of the sampler that suits it; none is rate matching where nothing is absorbed, else
            insertion.
    """

    name = "graph prior"
    process: Any  # DiscreteProcess
    network: Any
    made: Mapping[str, Any]
    """{name, options} its network was made from; known for priors of checkpoints."""

    def __init__(
        self,
        network: nn.Module,
        process: DiscreteProcess,
        length_counts: Tensor | Sequence[float],
        card: dict | None = None,
        temperature: float = 1.0,
        labels: Sequence[Label] = (),
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature={temperature}; it must be above 0")
        self.network, self.process, self.card, self.temperature = network, process, card or {}, temperature
        self.length_counts = torch.as_tensor(length_counts, dtype=torch.float64)
        if sampling is None and Fact.RATES in process.provides and Fact.ABSORBING not in process.provides:
            sampling = {"name": "rate_matching"}
        if sampling is not None:
            self.default_sampler = registry.get("sampler", sampling["name"])(**sampling.get("options", {}))
        nodes: int = network.triangle.nodes  # type: ignore[union-attr, assignment]
        self.event_shape = (nodes * (nodes + 1) // 2,)
        self.network_batch = max(1, PAIRS_A_CALL // self.event_shape[0])
        self.take_labels(labels)

    def network_rows(self, x: Tensor, t: Time = 1.0) -> int:
        """See `Prior.network_rows`: rows that have arrived at t = 0 are known."""
        return int((t > 0).sum()) if isinstance(t, Tensor) and t.ndim else len(x)

    def start(self, draw: Draw, rows: int, dtype: torch.dtype | None = None, condition: Any = None) -> Tensor:
        """Noise of graphs whose numbers of nodes are those of the training data, (rows, L)."""
        places = graph_places(self.sizes(draw, rows), self.most_nodes, self.network.node_types)
        return limit(self.process, places, draw.uniform(*places.shape))

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> CategoricalPrediction:
        """See `Prior.predict`."""
        timed = isinstance(t, Tensor) and t.ndim > 0
        if timed and not bool((t > 0).all()):  # type: ignore[operator, union-attr]
            busy = (t > 0).nonzero()[:, 0]  # type: ignore[operator, union-attr]
            law = certain(x.clamp_max(self.process.vocab_size - 1), self.process.vocab_size)
            if len(busy):
                given = None if condition is None else condition[busy]
                law[busy] = self._asked(x[busy], t[busy], given).log_probs  # type: ignore[index]
            return CategoricalPrediction(law, x)
        return self._asked(x, t, condition)

    def _asked(self, x: Tensor, t: Time, condition: Tensor | None) -> CategoricalPrediction:
        level = (1 - torch.as_tensor(self.process.alpha(t), device=x.device)).float().expand(len(x))
        with evaluating(self.network):
            logits = self.network(x, labels=condition, level=level).float()
        return believed(self.process, logits / self.temperature, x)


def graph_places(sizes: Tensor, most: int, node_types: int) -> Tensor:
    """An id of the kind of every place of graphs with so many nodes (B,), (B, L): 0, the first node, or "no edge"."""
    there = torch.arange(most, device=sizes.device) < sizes[:, None]
    i, j = Triangle(most).to(sizes.device).ends(there.T)
    return torch.cat([there.long(), (i & j).T * (1 + node_types)], 1)


def limit(process: Any, places: Tensor, u: Tensor) -> Tensor:
    """Tokens (B, L) at t = 1 at places of the kinds of given ids (B, L), with u (B, L) uniform."""
    if isinstance(process, Kinds):
        return process.lost(places, u)
    noise = process.noise(places, torch.ones(len(places), dtype=torch.float64, device=places.device), u)
    return torch.where(places == process.pinned, places, noise)


def believed(process: Any, logits: Tensor, x: Tensor) -> CategoricalPrediction:
    """The prediction of logits (B, L, V) of clean ids at noisy tokens x (B, L); what is absent is certain."""
    absent = (x == process.pinned)[..., None]
    known = torch.where(torch.arange(logits.shape[-1], device=x.device) == process.pinned, 0.0, -torch.inf)
    prediction: CategoricalPrediction = process.prediction(torch.log_softmax(torch.where(absent, known, logits), -1), x)
    return prediction


def made_from(description: Mapping[str, Any], network: nn.Module) -> GraphPrior:
    """A prior from the description in a checkpoint and its network."""
    from guidekit.priors.descriptions import process_from

    prior = GraphPrior(
        network,
        process_from(description),
        description["length_counts"],
        description.get("card"),
        description.get("temperature", 1.0),
        [Label(**label) for label in description.get("labels", ())],
        description.get("sampling"),
    )
    prior.made = description["network"]
    return prior


__all__ = ["GraphPrior", "believed", "graph_places", "limit", "made_from"]
