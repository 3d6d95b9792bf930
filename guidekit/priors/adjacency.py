"""Priors of graphs as real numbers: one for every possible edge, noised alike, with properties of the graph beside."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Time
from guidekit.core.random import Draw
from guidekit.core.state import State, column
from guidekit.errors import UnknownNameError
from guidekit.priors.adjacency_layout import PRESENT, Layout
from guidekit.priors.denoiser import evaluating
from guidekit.priors.graphs import PAIRS_A_CALL
from guidekit.priors.labels import Label
from guidekit.priors.parametrization import noise_level
from guidekit.priors.sized import SizedPrior
from guidekit.processes import GaussianProcess

PROPERTY_SCALE = 8.0
"""Standard deviation of a property in a state. Edges have .5 at most: what a graph is to be like is settled first, so
that the noise of a property that is put back does not matter any more when edges are decided."""


class Property(NamedTuple):
    """A number of a graph, with its mean and standard deviation in the training data."""

    name: str
    mean: float
    std: float


class AdjacencyPrior(SizedPrior):
    """Gaussian diffusion of graphs whose number of nodes is drawn first: numbers of edges, of types, of properties.

    A state is (B, D), see `Layout`; clean edges are 1 where they are and 0 where not. Given x = a x_0 + s noise, the
    network is told what each number says of its edge by itself (Bayes' rule), and its logits are added to that: the
    posterior mean is a probability, and exact where the noise is small. Which nodes there are is no noise: nothing
    moves it. The prediction does not depend on the order of the nodes.

    Properties are either part of the state, `joint`, and diffuse with it (trunk and stems of `LoopGuidance`), or told:
    a condition {name: value}.

    Args:
        network: a `GraphTransformer`, with as many stems as there are properties.
        process: forward process, with some signal left at t = 1.
        length_counts: (N + 1,) how often each number of nodes occurred in the training data.
        marginals: (K + 1 + E,) shares of the types of nodes, of "no edge" and of the types of edges in the data.
        labels: what a condition may name; none for an unconditional network.
        properties: of the graph.
        joint: whether they are part of the state.
        card: how it was made.

    Raises:
        ValueError: a process without a signal, labels beside properties, marginals that are not of its types.

    Source: Jo et al. 2022, arXiv:2202.02514 (GDSS: a score of the adjacency with masks for the nodes).
    """

    name = "adjacency prior"
    process: GaussianProcess
    network: Any
    made: Mapping[str, Any]

    def __init__(
        self,
        network: nn.Module,
        process: GaussianProcess,
        length_counts: Tensor | Sequence[float],
        marginals: Sequence[float],
        labels: Sequence[Label] = (),
        properties: Sequence[Property] = (),
        joint: bool = True,
        card: dict | None = None,
    ) -> None:
        refuse_without_signal(process)
        if labels and properties:
            raise ValueError("a prior has labels or properties, not both")
        if len(marginals) != network.node_types + 1 + network.edge_types:  # type: ignore[operator]
            raise ValueError(f"{len(marginals)} marginals; one is needed for every type, and one for no edge")
        self.network, self.process, self.card = network, process, card or {}
        self.length_counts = torch.as_tensor(length_counts, dtype=torch.float64)
        self.marginals, self.properties = tuple(marginals), tuple(properties)
        self.joint, self.shown = joint, True
        most, kinds, edges = len(self.length_counts) - 1, network.node_types, network.edge_types
        self.layout = Layout(most, kinds, edges, len(self.properties) if joint else 0)  # type: ignore[arg-type]
        self.event_shape = (self.layout.length,)
        self.network_batch = max(1, PAIRS_A_CALL // self.layout.places)
        self.take_labels(labels)
        if self.told:
            self.null_condition = torch.full((len(self.properties),), math.nan)

    @property
    def told(self) -> bool:
        """Whether properties are a condition."""
        return bool(self.properties) and not self.joint

    @property
    def stems(self) -> slice:
        """The numbers of a state that are properties."""
        return slice(self.layout.length - self.layout.stems, self.layout.length)

    @property
    def trunk(self) -> AdjacencyPrior:
        """The same prior, whose graphs are not told their properties."""
        new = copy.copy(self)
        new.shown = False
        return new

    def scaled(self, values: Mapping[str, float]) -> Tensor:
        """Numbers (K,) of a state for values of properties, NaN for those that are not named.

        Raises:
            UnknownNameError, ValueError: no such property, or a value that is no finite number.
        """
        known = {each.name: k for k, each in enumerate(self.properties)}
        found = torch.full((len(known),), math.nan)
        for name, value in values.items():
            if name not in known:
                raise UnknownNameError(f"property of this prior ({self.name})", str(name), known)
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise ValueError(f"{name}={value!r}; a finite number is expected")
            own = self.properties[known[name]]
            found[known[name]] = PROPERTY_SCALE * (value - own.mean) / own.std
        return found

    def condition(self, value: Any) -> State | None:
        """A condition from what users write: labels, see `label_rows`, or values of properties by name, or a list."""
        if value is None or isinstance(value, Tensor) and value.ndim == 2 or not self.told:
            return super().condition(value)
        each = [value] if isinstance(value, Mapping) else value
        if not isinstance(each, Sequence) or isinstance(each, str) or not all(isinstance(one, Mapping) for one in each):
            names = ", ".join(f"{one.name}: {one.mean:.3g}" for one in self.properties)
            raise ValueError(f"condition={value!r}; expected {{{names}}} with values of yours, or a list of them")
        return torch.stack([self.scaled(one) for one in each])

    def start(self, draw: Draw, rows: int, dtype: torch.dtype | None = None, condition: Any = None) -> Tensor:
        """Noise of graphs whose numbers of nodes are those of the training data, (rows, D)."""
        noise = self.process.sample_limit(draw, (rows, *self.event_shape)).to(dtype or self.dtype)
        there = torch.arange(self.most_nodes, device=noise.device) < self.sizes(draw, rows)[:, None]
        return self.layout.given(there, self.process.coefficients(1.0)[0]).place(noise)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """See `Prior.predict`."""
        a, s = self.process.coefficients(t)
        rows = [torch.as_tensor(value, dtype=torch.float64, device=x.device).expand(len(x)) for value in (a, s)]
        y, labels, shown = None, condition, None
        if self.told:
            y = torch.full((len(x), len(self.properties)), math.nan) if condition is None else condition
            y, labels = y.to(x), None
        elif self.layout.stems:
            shown = torch.full((len(x), self.layout.stems), self.shown, device=x.device)
        with evaluating(self.network):
            seen = seen_by(self.network, self.layout, self.marginals, x, rows[0], rows[1], labels, y, shown)
        there = self.layout.there(x, rows[1])
        mean = self.layout.clean(seen.log_probs, there, seen.properties)
        given = self.layout.given(there)
        return GaussianPrediction(given.place(mean.to(x.dtype)), x, a, s, given)


def refuse_without_signal(process: GaussianProcess) -> None:
    """Raise ValueError for a process at whose end nothing tells which nodes there are."""
    a, s = process.coefficients(1.0)
    if a * PRESENT < 50 * s:
        raise ValueError("a process with a signal at t = 1 is needed: ve, edm, or vp with its linear schedule")


class Seen(NamedTuple):
    """What a network says of clean graphs: log-probabilities (B, L, V) of tokens and properties (B, K) of a state."""

    log_probs: Tensor
    properties: Tensor | None


def seen_by(
    network: Any,
    layout: Layout,
    marginals: Sequence[float],
    x: Tensor,
    a: Tensor,
    s: Tensor,
    labels: Tensor | None = None,
    told: Tensor | None = None,
    shown: Tensor | None = None,
) -> Seen:
    """What a network says of the clean graphs behind x (B, D) = a x_0 + s noise; a and s (B,).

    Args:
        network: see `AdjacencyPrior`.
        layout: of states.
        marginals: see `AdjacencyPrior`.
        x, a, s: states, signal and noise.
        labels: (B, n) or None.
        told: (B, K) properties that are known as they are, NaN where they are not; None where they are in the state.
        shown: (B, K) bool, whether the graph is told each of those in the state.
    """
    evidence = layout.evidence(x, a, s)
    places = layout.tokens_of(layout.there(x, s))
    prior = torch.log(torch.tensor([1.0, *marginals], device=x.device, dtype=evidence.dtype).clamp_min(1e-6))
    belief = torch.log_softmax(layout.possible(places, evidence + prior), -1)
    level = noise_level(a, s).to(x.device)
    law = belief.exp().to(x.dtype if x.dtype != torch.float64 else torch.float32)
    if told is None and not layout.stems:
        logits, estimate = network(law, labels=labels, level=level), None
    else:
        if told is not None:
            shown, y, b, r = ~told.isnan(), told.nan_to_num(0.0), torch.ones_like(s), torch.zeros_like(s)
        else:
            assert shown is not None
            y, b, r = layout.split(x).stems, a, s
        size = (b * b * PROPERTY_SCALE**2 + r * r).sqrt()
        ask = torch.where(shown, y / column(size, y), 0.0).to(law)
        logits, found = network(law, labels=labels, level=level, stems=torch.cat([ask, shown.to(law)], 1))
        # As "edm" of `priors.parametrization` where the property is shown, and from nothing where it is not.
        skip = torch.where(shown, column(b * PROPERTY_SCALE**2 / size**2, y) * y, 0.0)
        out = torch.where(shown, column(r * PROPERTY_SCALE / size, y).expand_as(y), PROPERTY_SCALE)
        estimate = skip + out * found.to(y)
    total = torch.log_softmax(layout.possible(places, logits.to(evidence.dtype) + evidence), -1)
    return Seen(total, None if told is not None else estimate)


def made_from(description: Mapping[str, Any], network: nn.Module) -> AdjacencyPrior:
    """A prior from the description in a checkpoint and its network."""
    from guidekit.priors.descriptions import gaussian_process_from

    prior = AdjacencyPrior(
        network,
        gaussian_process_from(description),
        description["length_counts"],
        description["marginals"],
        [Label(**label) for label in description.get("labels", ())],
        [Property(**each) for each in description.get("properties", ())],
        description.get("joint", True),
        description.get("card"),
    )
    prior.made = description["network"]
    return prior


__all__ = ["PROPERTY_SCALE", "AdjacencyPrior", "Property", "made_from", "refuse_without_signal", "seen_by"]
