"""A neural prior over token sequences."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.random import Draw, pick
from guidekit.core.requirements import GuidanceError
from guidekit.core.state import State
from guidekit.interventions.installation import narrowed, recording
from guidekit.priors.denoiser import evaluating
from guidekit.priors.labelled import LabelledPrior
from guidekit.priors.labels import Label
from guidekit.processes import DiscreteProcess, Masked

TOKENS_A_CALL = 1 << 16
"""Tokens in one network call."""


class TokenPrior(LabelledPrior):
    """Discrete diffusion over sequences whose length is drawn first: p(x) = p(n) p(x | n).

    A state is (B, L) with n noisy token ids and padding behind them; padding is known from the start and never moves.
    For a masked process the network runs on rows with a masked token, on the columns that hold tokens, and makes logits
    for masked positions only.

    Args:
        network: (tokens (B, l), select, labels, level) -> logits, see `SequenceTransformer.forward`.
        vocab_size: V, padding included.
        length_counts: (L + 1,) how often each length occurred in the training data.
        pad_id: id of padding; None where every sequence has L tokens.
        card: how it was made.
        temperature: logits are divided by it; below 1 sharpens the law of every token. A network that has not seen
            enough data spreads probability on impossible tokens, which a value of 0.8 or 0.9 takes back.
        process: forward process; None is `Masked`.
        labels: what a condition may name; none for an unconditional network.
        parametrization: "clean" for a network whose outputs are logits of the clean token, "ratios" for one (SEDD)
            whose outputs are logarithms of the concrete score, see `DiscreteProcess.score`.
        label_lengths: for each label and each of its values, `length_counts` of the training data that have it; none
            draws lengths without a look at the condition.
    """

    name = "token prior"
    process: Any  # DiscreteProcess
    network: Any
    made: Mapping[str, Any]
    """{name, options} its network was made from; known for priors of checkpoints."""

    def __init__(
        self,
        network: nn.Module,
        vocab_size: int,
        length_counts: Tensor | Sequence[int],
        pad_id: int | None = 0,
        card: dict | None = None,
        temperature: float = 1.0,
        process: DiscreteProcess | None = None,
        labels: Sequence[Label] = (),
        parametrization: str = "clean",
        label_lengths: Sequence[Sequence[Sequence[int]]] = (),
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature={temperature}; it must be above 0")
        self.network = network
        self.process = Masked(vocab_size, pinned=pad_id) if process is None else process
        self.length_counts = torch.as_tensor(length_counts, dtype=torch.float64)
        self.label_lengths = tuple(torch.as_tensor(table, dtype=torch.float64) for table in label_lengths)
        self.event_shape = (len(self.length_counts) - 1,)
        self.pad_id, self.card, self.temperature = pad_id, card or {}, temperature
        self.parametrization = parametrization
        self.network_batch = max(1, TOKENS_A_CALL // self.event_shape[0])
        self.masked = isinstance(self.process, Masked)
        self.timed = getattr(getattr(network, "conditioning", None), "level", None) is not None
        self.timeless = self.masked and not self.timed and parametrization == "clean"
        self.take_labels(labels)

    def network_rows(self, x: Tensor, t: Time = 1.0) -> int:
        """Sequences the network has to look at; see `Prior.network_rows`."""
        return int(self._unknown(x).any(1).sum())

    def _unknown(self, x: Tensor) -> Tensor:
        """Positions the network is asked about, (B, L)."""
        if self.masked:
            return x == self.process.mask_id
        return torch.ones_like(x, dtype=torch.bool) if self.pad_id is None else x != self.pad_id

    def start(self, draw: Draw, rows: int, dtype: torch.dtype | None = None, condition: State | None = None) -> Tensor:
        """Noise with lengths from the training data that have the condition, (rows, L)."""
        return self.resized(draw, rows, condition, None)

    def resized(self, draw: Draw, rows: int, condition: State | None, tilt: Tensor | None) -> Tensor:
        """Noise (rows, L) with lengths as often as in the training data, times exp(tilt), (L + 1,).

        Raises:
            GuidanceError: no length that the training data have is left.
        """
        noise = self.process.sample_limit(draw, (rows, *self.event_shape))
        if self.pad_id is None:
            return noise
        law = self.length_law(condition).expand(rows, -1)
        if tilt is not None:
            law = law + tilt.to(law)
        if bool(law.isneginf().all(1).any()):
            raise GuidanceError(
                f"{self.name}: none of the lengths of the training data can keep the rule: give length="
            )
        lengths = pick(law, draw.named("length").uniform(rows))
        position = torch.arange(self.event_shape[0], device=lengths.device)
        return torch.where(position < lengths[:, None], noise, self.pad_id)

    def length_law(self, condition: State | None) -> Tensor:
        """log-weights of lengths 0 .. L, (1 or rows, L + 1), for conditions (rows, K) or none.

        Of several labels p(n | y_1 .. y_K) is taken as p(n) times the product of p(n | y_k) / p(n).
        """
        base = (self.length_counts / self.length_counts.sum()).log()[None]
        if not isinstance(condition, Tensor) or condition.ndim != 2 or not self.label_lengths:
            return base
        law = base.expand(len(condition), -1)
        for column, table in zip(condition.T, self.label_lengths, strict=True):
            table = table.to(law.device)
            counts = table[column.clamp_min(0)]
            own = (counts / counts.sum(1, keepdim=True).clamp_min(1)).log()
            told = (column >= 0) & (counts.sum(1) > 0)
            law = torch.where(told[:, None] & (base > -torch.inf), law + own - base, law)
        return torch.where(law.isneginf().all(1, keepdim=True), base, law)

    def of_lengths(self, least: int | None = None, most: int | None = None) -> TokenPrior:
        """The prior whose samples have least .. most tokens, as often as in the training data, alike where it has none.

        Raises:
            ValueError: no length that its states have room for, or a prior of one length that is to have another one.
        """
        room = self.event_shape[0]
        low, high = 1 if least is None else least, room if most is None else most
        if self.pad_id is None and not low <= room <= high:
            raise ValueError(f"samples of this prior ({self.name}) have {room} tokens, and no other number of them")
        if not 1 <= low <= high <= room:
            raise ValueError(
                f"lengths {low} to {high} are asked for; this prior ({self.name}) has room for 1 to {room}"
            )
        inside = torch.arange(room + 1)
        inside = (inside >= low) & (inside <= high)
        new = copy.copy(self)
        kept = self.length_counts.cpu() * inside
        new.length_counts = (kept if kept.sum() > 0 else inside.double()).to(self.length_counts)
        return new

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> CategoricalPrediction:
        """See `Prior.predict`."""
        unknown = self._unknown(x)
        busy = unknown.any(1)
        if not busy.any():
            return self._known(x, unknown, None)
        rows = slice(None) if busy.all() else busy
        time = t[rows] if isinstance(t, Tensor) and t.ndim else t
        given = None if condition is None else condition[rows]
        with evaluating(self.network), narrowed(self.network, rows):
            return self._known(x, unknown, self._asked(x[rows], unknown[rows], time, given))

    def features(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Tensor:
        """Last hidden layer (B, L, width) of the network, for guidance that moves it; see `from_features`."""
        return self.network.features(x, condition, self._level(x, t))

    def from_features(self, h: Tensor, x: Tensor, t: Time) -> CategoricalPrediction:
        """The belief at states x (B, L) that a last hidden layer h (B, L, width) means; differentiable in h."""
        unknown = self._unknown(x)
        return self._known(x, unknown, self._read(self.network.logits(h[unknown]).float(), x, unknown, t))

    def _known(self, x: Tensor, unknown: Tensor, values: Tensor | None) -> CategoricalPrediction:
        """The belief with log-probabilities values (N, V) at the N unknown positions and certainty elsewhere."""
        log_probs = torch.full((*x.shape, self.process.vocab_size), -torch.inf, device=x.device)
        log_probs.scatter_(-1, x.masked_fill(unknown, 0)[..., None], 0.0)
        if values is not None:
            log_probs[unknown] = values
        return CategoricalPrediction(log_probs, x)

    def _level(self, x: Tensor, t: Time) -> Tensor | None:
        """Noise level (B,) for networks that are told it."""
        if not self.timed:
            return None
        return 1 - torch.as_tensor(self.process.alpha(t), device=x.device).expand(len(x)).float()

    def _asked(self, z: Tensor, unknown: Tensor, t: Time, labels: Tensor | None) -> Tensor:
        """Log-probabilities (N, V) of clean tokens at the N unknown positions of rows that have some."""
        if self.pad_id is not None and not recording(self.network):
            width = int((z != self.pad_id).sum(1).amax())
            z, unknown = z[:, :width], unknown[:, :width]
        outputs = self.network(z, select=unknown, labels=labels, level=self._level(z, t)).float()
        return self._read(outputs, z, unknown, t)

    def _read(self, outputs: Tensor, z: Tensor, unknown: Tensor, t: Time) -> Tensor:
        """Log-probabilities (N, V) from the network's outputs (N, V)."""
        if self.parametrization == "ratios":
            return self._from_ratios(outputs, z, unknown, t)
        if self.pad_id is not None:
            outputs = outputs.masked_fill(torch.arange(outputs.shape[-1], device=z.device) == self.pad_id, -torch.inf)
        return torch.log_softmax(outputs / self.temperature, -1)

    def _from_ratios(self, outputs: Tensor, z: Tensor, unknown: Tensor, t: Time) -> Tensor:
        """Log-probabilities (N, V) from log-ratios (N, V)."""
        table = torch.zeros(*z.shape, outputs.shape[-1], device=z.device)
        table[unknown] = outputs
        log_probs = self.process.from_ratios(self.process.score(table, z, t), z, t).log_probs[unknown]
        return torch.log_softmax(log_probs / self.temperature, -1).float()


def lengths_of(prior: Prior) -> Tensor:
    """Lengths (L + 1,) bool that samples of a prior of tokens may have."""
    counts = getattr(prior, "length_counts", None)
    if counts is None or getattr(prior, "pad_id", None) is None:
        return torch.arange(prior.event_shape[0] + 1) == prior.event_shape[0]
    return counts.cpu() > 0


def made_from(description: Mapping[str, Any], network: nn.Module) -> TokenPrior:
    """A prior from the description in a checkpoint and its network."""
    from guidekit.priors.descriptions import process_from

    prior = TokenPrior(
        network,
        description["vocab_size"],
        description["length_counts"],
        description["pad_id"],
        description.get("card"),
        description.get("temperature", 1.0),
        process_from(description),
        [Label(**label) for label in description.get("labels", ())],
        description.get("parametrization", "clean"),
        description.get("label_lengths", ()),
    )
    prior.made = description["network"]
    return prior
