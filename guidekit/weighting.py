"""Weighted samples of a particle filter as one population: of its target, or back to what it has tilted."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from guidekit.core.state import State, take
from guidekit.sampling import Result

FEW, SHARE = 30.0, 0.01
"""Effective sample size, and share of all samples, below which weighted means are not to be trusted."""


@dataclasses.dataclass(frozen=True)
class Weighted:
    """Samples and what they weigh.

    Attributes:
        states: (N, *S).
        log_weights: (N,) float64 nats, normalized.
    """

    states: State
    log_weights: Tensor

    @property
    def ess(self) -> float:
        """Effective sample size, between 0 (no sample has a weight) and N."""
        weights = self.log_weights.exp()
        return float(1 / weights.square().sum()) if bool(weights.sum() > 0) else 0.0

    @property
    def remark(self) -> str:
        """A sentence where weighted means cannot be trusted; empty where they can."""
        count = len(self.log_weights)
        if self.ess >= max(min(FEW, 0.5 * count), SHARE * count):
            return ""
        return (
            f"{count} samples count as {self.ess:.1f}: their weighted means are off by an unknown amount. "
            "Take more samples, or a higher temperature"
        )

    def mean(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted mean of values (N, ...), and its standard error (self-normalized); both (...), float64."""
        weights = self.log_weights.exp().reshape(-1, *[1] * (values.ndim - 1))
        mean = (weights * values.double()).sum(0)
        return mean, (weights.square() * (values.double() - mean).square()).sum(0).sqrt()

    def samples(self, count: int, seed: int = 0) -> Any:
        """States (count, *S) drawn by weight, some of them more than once.

        Raises:
            ValueError: no sample has a weight.
        """
        if self.ess == 0:
            raise ValueError("no sample has a weight above 0: there is nothing to draw from")
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self.log_weights.exp(), count, True, generator=generator)
        return take(self.states, chosen)


def pooled(result: Result) -> Weighted:
    """All groups of a particle filter as one population of its target: a group counts as much as its evidence.

    Many small groups become as good as one large one, where all of them have asked for the same. Groups of particle
    Gibbs count alike.

    Args:
        result: of a filter, with output "draw" or "all".

    Raises:
        ValueError: samples that no filter has weighed, or of which it has kept the best.
    """
    _tilt(result)
    return _weighted(result, 0.0)


def to_prior(result: Result) -> Weighted:
    """Samples of a particle filter weighted back to the law that it has tilted: the prior, as the sampler draws it.

    The weight of a sample is its share of the filter's, times exp(-reward / temperature). What the filter gave no
    weight (a reward of minus infinity: an invalid molecule) has none: the law is the prior's given that there is a
    reward. Guidance that moves kernels
    within the filter is made up for as well: `chain(DPS(likelihood), ParticleFilter(ess_threshold=0, output="all"))` is
    importance sampling. What changes the prediction itself (classifier-free guidance) belongs to the law.

    Args:
        result: see `pooled`.

    Raises:
        ValueError: see `pooled`.
    """
    return _weighted(result, _tilt(result))


def _tilt(result: Result) -> Tensor:
    """Log-potentials (P, K') that the samples' paths have had, nats."""
    if "log tilt" not in result.info:
        raise ValueError(
            "these samples carry no weights: put a particle filter around the guidance, such as "
            'chain(guidance, FKSteering(reward, output="all")), with output "draw" or "all"'
        )
    return result.info["log tilt"][:, -1]


def _weighted(result: Result, tilt: Tensor | float) -> Weighted:
    # Groups without any weight are handed back as if all of theirs were equal; their evidence is minus infinity.
    dead = result.log_weights.isneginf().all(1, keepdim=True)
    shares = torch.log_softmax(result.log_weights.masked_fill(dead, 0.0), 1)
    swept = "sweeps" in result.info
    evidence = torch.zeros_like(result.log_normalizer) if swept else result.log_normalizer
    nothing = dead | shares.isneginf()  # whose reward is minus infinity: no factor brings it back
    log_weights = torch.where(nothing, -math.inf, shares + evidence[:, None] - tilt).flatten()
    total = torch.logsumexp(log_weights, 0)
    return Weighted(result.samples, torch.where(total.isneginf(), -math.inf, log_weights - total))


__all__ = ["Weighted", "pooled", "to_prior"]
