"""Training losses: functions of a network and clean states that return one loss per sample."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclasses.dataclass(frozen=True)
class MaskedLikelihood:
    """Negative evidence lower bound of a masked (absorbing) process, in nats per sequence.

    With n real tokens and k of them masked, the bound is E_k[(n / k) sum_masked -log p(token)] for k uniform on 1..n:
    the time integral of the continuous bound done in closed form, so no draw is wasted on an unmasked sequence and
    the loss does not depend on the schedule. Counts are stratified over the batch.

    Args:
        mask_id: id of the mask token.
        pad_id: id of padding, never masked and never scored; None when every position is real.

    Source: Sahoo et al. 2024, arXiv:2406.07524, eq. 10; the count form follows from integrating t^(k-1) (1-t)^(n-k).
    """

    mask_id: int
    pad_id: int | None = None

    def __call__(self, network: nn.Module, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Loss (B,) in nats for clean tokens (B, L) int64."""
        real = torch.ones_like(tokens, dtype=torch.bool) if self.pad_id is None else tokens != self.pad_id
        n = real.sum(1)
        batch, device = len(tokens), tokens.device
        strata = torch.randperm(batch, generator=generator, device=device)
        u = (strata + torch.rand(batch, generator=generator, device=device)) / batch
        k = (u * n).long().clamp_max(n - 1) + 1
        order = torch.rand(tokens.shape, generator=generator, device=device).masked_fill(~real, 2.0)
        masked = order.argsort(1).argsort(1) < k[:, None]
        logits = network(torch.where(masked, self.mask_id, tokens), select=masked)
        nats = F.cross_entropy(logits.float(), tokens[masked], reduction="none")
        per_token = torch.zeros(tokens.shape, device=device).masked_scatter(masked, nats)
        return per_token.sum(1) * n / k
