"""Islands: parts of a group that resample among themselves, and are exchanged whole only where they differ."""

from __future__ import annotations

import torch
from torch import Tensor

from guidekit.core.random import Draw
from guidekit.guidance.particles.resampling import Resampler, ancestry, effective_sample_size, log_mean


def exchanged(
    log_weights: Tensor, islands: int, scheme: Resampler, draw: Draw, *, tempering: float, threshold: float | None
) -> tuple[Tensor, Tensor]:
    """Ancestors (P, K) and log-weights (P, K) after a resampling inside every island, and one of whole islands.

    What an island weighs stays in the weights of its particles, so that the whole is unbiased, and the evidence of the
    group is the mean of all weights as ever.

    Args:
        log_weights: (P, K) float64, nats; islands are consecutive.
        islands: how many, a divisor of K.
        scheme: of resampling, for particles and for islands.
        draw: of this evaluation.
        tempering: see `ancestry`; islands are exchanged by their weights.
        threshold: share of the effective sample size below which is resampled; None always.

    Raises:
        ValueError: islands of different sizes.

    Source: Verge, Dubarry, Del Moral & Moulines 2015, arXiv:1306.3911.
    """
    groups, k = log_weights.shape
    if k % islands:
        raise ValueError(f"{k} particles do not divide into {islands} islands")
    each = k // islands
    parts = log_weights.reshape(groups * islands, each)
    fire = _fires(parts, threshold)
    found, left, evidence = ancestry(
        parts, fire, scheme, draw.named("within").uniform(groups * islands, each), tempering
    )
    found, parts = found.view(groups, islands, each), (left + evidence[:, None]).view(groups, islands, each)
    weights = log_mean(parts.view(groups * islands, each)).view(groups, islands)
    chosen, left, evidence = ancestry(
        weights, _fires(weights, threshold), scheme, draw.named("islands").uniform(groups, islands)
    )
    relative = parts - weights[..., None].nan_to_num(neginf=0.0)
    row = torch.arange(groups, device=chosen.device)[:, None]
    ancestors = chosen[..., None] * each + found[row, chosen]
    after = relative[row, chosen] + (left + evidence[:, None])[..., None]
    return ancestors.view(groups, k), after.reshape(groups, k)


def _fires(log_weights: Tensor, threshold: float | None) -> Tensor:
    ess = effective_sample_size(log_weights)
    return torch.ones_like(ess, dtype=torch.bool) if threshold is None else ess < threshold * log_weights.shape[1]
