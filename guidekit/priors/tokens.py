"""A neural prior over token sequences of varying length."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from guidekit.core.generators import Draw
from guidekit.core.population import Time
from guidekit.core.predictions import CategoricalPrediction, sample_categorical
from guidekit.priors.base import Prior
from guidekit.processes import Masked


class TokenPrior(Prior):
    """Masked diffusion over sequences whose length is drawn first: p(x) = p(n) p(x | n).

    A state is (B, L) with n mask or token ids and padding behind them; padding is known from the start and never moves.
    The network runs on the masked positions' logits only and on the columns that hold tokens.

    Args:
        network: tokens (B, l), select (B, l) bool -> logits (N, V) of the selected positions.
        vocab_size: V, padding included; the mask is id V.
        length_counts: (L + 1,) how often each length occurred in the training data.
        pad_id: id of padding.
        card: how it was made.
        temperature: logits are divided by it; below 1 sharpens the law of every token. A network that has not seen
            enough data spreads probability on impossible tokens, which a value of 0.8 or 0.9 takes back.
    """

    name = "token prior"
    time_independent = True
    network_batch = 2048

    def __init__(
        self,
        network: nn.Module,
        vocab_size: int,
        length_counts: Tensor,
        pad_id: int = 0,
        card: dict | None = None,
        temperature: float = 1.0,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature={temperature}; it must be above 0")
        self.network = network.eval().requires_grad_(False)
        self.process = Masked(vocab_size, pinned=pad_id)
        self.length_counts = torch.as_tensor(length_counts, dtype=torch.float64)
        self.event_shape = (len(self.length_counts) - 1,)
        self.pad_id, self.card, self.temperature = pad_id, card or {}, temperature

    def network_rows(self, x: Tensor) -> int:
        """Sequences with a masked token; see `Prior.network_rows`."""
        return int((x == self.process.mask_id).any(1).sum())

    def start(self, draw: Draw, rows: int) -> Tensor:
        """Fully masked sequences with lengths from the training data, (rows, L)."""
        u = draw.named("length").uniform((rows,))
        lengths = sample_categorical(self.length_counts.log().expand(rows, -1), u)
        position = torch.arange(self.event_shape[0], device=lengths.device)
        return torch.where(position < lengths[:, None], self.process.mask_id, self.pad_id)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> CategoricalPrediction:
        """See `Prior.predict`."""
        masked = x == self.process.mask_id
        size = self.process.vocab_size
        log_probs = torch.full((*x.shape, size), -torch.inf, device=x.device)
        log_probs.scatter_(-1, x.masked_fill(masked, 0)[..., None], 0.0)
        busy = masked.any(1)
        if busy.any():
            z = x if busy.all() else x[busy]
            z = z[:, : int((z != self.pad_id).sum(1).amax())]
            logits = self.network(z, select=z == self.process.mask_id).float()
            logits[:, self.pad_id] = -torch.inf
            log_probs[masked] = torch.log_softmax(logits / self.temperature, -1)
        return CategoricalPrediction(log_probs, x)

    def to(self, device: torch.device | str) -> TokenPrior:
        """The prior with its network on another device."""
        new = copy.copy(self)
        new.network = copy.deepcopy(self.network).to(device) if str(device) != str(self._device()) else self.network
        new.length_counts = self.length_counts.to(device)
        return new

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device
