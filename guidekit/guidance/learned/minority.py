"""Rare samples by a learned value: how badly one denoising step restores a sample says how rare it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior, Time
from guidekit.core.random import keyed_generator
from guidekit.guidance.gradient.noisy import ClassifierGuidance
from guidekit.guidance.transition.classifier import DCBG
from guidekit.guidance.values.learned import LearnedValue
from guidekit.processes import DiscreteProcess
from guidekit.registry import register


@register("tool", "minority_score")
@dataclasses.dataclass(frozen=True, eq=False)
class MinorityScore(Objective[None]):
    """m(x_0) = E d(x_0, D(x_t, t)) at one time: high where the prior falls back on what is common.

    d is the mean squared difference of real-valued states, and of tokens -log p(x_0 | z_t), nats a sequence. All
    states get the same noise, so the score of a state does not depend on its batch. Token sequences that the prior's
    codec decodes to nothing score minus infinity: broken ones are rare, too.

    Args:
        prior: whose law tells what is common.
        t: time of the noise; small times measure texture, large ones global rarity.
        draws: of the noise.
        distance: (x_0, D) (B, *S) -> (B,) in place of the squared difference, for real-valued states.

    Raises:
        ValueError: a time outside (0, 1], or no draws.

    Source: Um et al. 2024, "Don't play favorites" (ICLR), eq. 6, with other distances.
    """

    prior: Prior
    t: float = 0.6
    draws: int = 5
    distance: Callable[[Tensor, Tensor], Tensor] | None = None
    by_rank = True
    """Says little but which of two states is rarer: bins of a learned value are to hold equal numbers of samples."""
    floor = 0.0
    name = "minority"

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if not 0 < self.t <= 1 or self.draws < 1:
            raise ValueError(f"t must be above 0 and at most 1, draws at least 1, got t={self.t}, draws={self.draws}")

    def scores(self, states: Tensor, t: Time, rows: None) -> Tensor:
        """Scores (B,) float64 of clean states (B, *S)."""
        prior = self.prior.to(states.device)
        parts = states.split(prior.network_batch or max(1, len(states)))
        with torch.no_grad():
            scores = torch.cat([self._scores(prior, part) for part in parts])
        if prior.codec is None or not isinstance(prior.process, DiscreteProcess):
            return scores
        broken = torch.tensor([thing is None for thing in prior.decode(states)], device=states.device)
        return scores.masked_fill(broken, -math.inf)

    def _scores(self, prior: Prior, states: Tensor) -> Tensor:
        tokens = isinstance(prior.process, DiscreteProcess)
        total = torch.zeros(len(states), dtype=torch.float64, device=states.device)
        for draw in range(self.draws):
            random = keyed_generator("cpu", draw, 0, "minority")
            shape = (1, *states.shape[1:])
            noise = torch.rand(shape, generator=random) if tokens else torch.randn(shape, generator=random)
            process: Any = prior.process
            noisy = process.noise(states, self.t, noise.to(states.device).expand(states.shape))
            prediction: Any = prior.predict(noisy, self.t)
            if tokens:
                total -= prediction.log_probs.double().gather(-1, states[..., None])[..., 0].sum(1)
            elif self.distance is not None:
                total += self.distance(states, prediction.mean).double()
            else:
                total += (states - prediction.mean).double().square().flatten(1).mean(1)
        return total / self.draws


@register("guidance", "minority")
def MinorityGuidance(  # noqa: N802 - a preset
    value: LearnedValue, share: float = 0.1, scale: float = 1.0, first_order: bool = True
) -> Guidance:
    """Guidance towards the rarest share of the samples: log p(score in the top bins | x_t) as a classifier.

    Args:
        value: of a `MinorityScore`, made by `train_value(..., equal_counts=True)`, so that a share of the bins is a
            share of the samples.
        share: of the rarest samples, in (0, 1).
        scale: see `ClassifierGuidance` and `DCBG`.
        first_order: of tokens, see `DCBG`.

    Raises:
        GuidanceError: the value is no learned one, or the share is outside (0, 1).

    Source: Um et al. 2024, "Don't play favorites" (ICLR), section 4; bins are grouped here, where the paper takes one.
    """
    if not isinstance(value, LearnedValue):
        raise GuidanceError(f"MinorityGuidance needs a learned value, and got {type(value).__name__}: see train_value")
    if not 0 < share < 1:
        raise GuidanceError(f"share must be between 0 and 1, got {share}")
    seen = value.centers[value.centers.isfinite()].sort().values
    event = value.above(float(seen[-max(1, round(share * len(seen)))]))
    if isinstance(value.process, DiscreteProcess):
        return DCBG(scale=scale, value=event, first_order=first_order)
    return ClassifierGuidance(event, scale)
