"""First-hitting sampling of masked processes: every network call reveals a token."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.core.prior import Prior
from guidekit.core.step import Moment
from guidekit.core.token_kernels import ChosenUnmaskingKernel
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here, Sampler


@register("sampler", "first_hitting")
@dataclasses.dataclass(frozen=True, eq=False)
class FirstHitting(Sampler[Tensor]):
    """Jumps to the time at which the next token is revealed; exact for an exact prediction, with L steps for L tokens.

    A row with more masked tokens than steps that are left reveals several at once, an equal number in each, which
    trades calls for a bias; more steps than tokens are never taken. The memory is the time of every row, (B,).

    Source: Zheng et al. 2024, arXiv:2409.02908.
    """

    requires = frozenset({Fact.MASKED})
    provides = frozenset({Fact.NOISE, Fact.TILTS, Fact.ESTIMATE, Fact.REVERSAL})

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """Nominal times; the true ones are kept per row."""
        return prior.process.grid(min(steps, prior.event_shape[0]))

    def time(self, moment: Moment, memory: Tensor | None) -> float | Tensor:
        """See `Sampler.time`: 1 before the first token."""
        return moment.t if memory is None else memory

    def step(self, here: Here, memory: Tensor | None) -> tuple[ChosenUnmaskingKernel, Tensor]:
        """See `Sampler.step`."""
        z, process = here.prediction.z, here.process
        times = torch.full((len(z),), here.step.t, dtype=torch.float64, device=z.device) if memory is None else memory
        n = (z == process.mask_id).sum(1, keepdim=True).double()
        count = (n[:, 0] / here.left).ceil().long()
        place = torch.arange(math.ceil(z.shape[1] / len(here.steps)), device=z.device)  # as many as a row may reveal
        left = torch.where(place < count[:, None], n - place, 0.0)
        # n masked tokens survive from t to u with probability (1 - a_u) / (1 - a_t) each, so the first of them is
        # revealed when that ratio falls to U^(1/n) (Zheng et al. 2024, prop. 4.1).
        log_u = here.draw.named("time").uniform(len(z), len(place)).log() / left.clamp_min(1)
        log_ratio = torch.where(left >= 1, log_u, 0.0).sum(1)
        then = process.alpha.inverse(1 - (1 - process.alpha(times)) * log_ratio.exp()).to(torch.float64)
        times = torch.where(n[:, 0] > 0, then, times)
        return ChosenUnmaskingKernel(here.prediction.log_probs, z, count, process.mask_id), times
