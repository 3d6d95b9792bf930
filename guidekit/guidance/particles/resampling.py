"""Resampling schemes: weights to ancestors, unbiased (E[copies of i] = K W_i), all groups at once.

Every scheme takes weights (P, K) float64 summing to one per group and uniform numbers (P, K), and returns ancestors
(P, K) int64. A particle of weight zero is never chosen.

Sources: Douc, Cappe & Moulines 2005, arXiv:cs/0507025; SSP: Gerber, Chopin & Whiteley 2019, arXiv:1708.02230.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Resampler = Callable[[Tensor, Tensor], Tensor]
"""(weights (P, K), uniform numbers (P, K)) -> ancestors (P, K)."""


def _invert(weights: Tensor, points: Tensor) -> Tensor:
    """Inverse CDF of each group at points (P, n) in [0, 1)."""
    cdf = weights.cumsum(1)
    # Scaling by the last edge makes it exactly one whatever the rounding of the sum.
    return torch.searchsorted(cdf, points * cdf[:, -1:], right=True).clamp_max(weights.shape[1] - 1)


def multinomial(weights: Tensor, u: Tensor) -> Tensor:
    """K independent draws."""
    return _invert(weights, u)


def stratified(weights: Tensor, u: Tensor) -> Tensor:
    """One draw in each of K equal strata."""
    k = weights.shape[1]
    return _invert(weights, (torch.arange(k, device=u.device) + u) / k)


def systematic(weights: Tensor, u: Tensor) -> Tensor:
    """K evenly spaced points with one common offset; copies are floor or ceil of K W_i."""
    k = weights.shape[1]
    return _invert(weights, (torch.arange(k, device=u.device) + u[:, :1]) / k)


def residual(weights: Tensor, u: Tensor) -> Tensor:
    """floor(K W_i) copies for certain, the remaining slots drawn from what is left of the weights."""
    k = weights.shape[1]
    counts = (k * weights + 1e-12).floor()
    rest = (k * weights - counts).clamp_min(0)
    sure = counts.sum(1, keepdim=True)
    slots = torch.arange(k, device=u.device, dtype=weights.dtype).expand_as(weights)
    certain = torch.searchsorted(counts.cumsum(1), slots.contiguous(), right=True).clamp_max(k - 1)
    total = rest.sum(1, keepdim=True)
    drawn = _invert(torch.where(total > 0, rest / total.clamp_min(1e-300), 1.0 / k), u)
    return torch.where(slots < sure, certain, drawn)


def ssp(weights: Tensor, u: Tensor) -> Tensor:
    """Srinivasan sampling process: fractional copies are rounded pair by pair; copies are floor or ceil of K W_i."""
    groups, k = weights.shape
    counts = (k * weights + 1e-12).floor()
    fraction = (k * weights - counts).clamp(0, 1)
    row = torch.arange(groups, device=u.device)
    open_ = torch.zeros(groups, dtype=torch.long, device=u.device)  # the one particle whose fraction is undecided
    for m in range(1, k):
        p, q = fraction[row, open_], fraction[:, m]
        up, down = torch.minimum(q, 1 - p), torch.minimum(p, 1 - q)
        rise = u[:, m] * (up + down) < down
        p, q = torch.where(rise, p + up, p - down), torch.where(rise, q - up, q + down)
        fraction = fraction.index_put((row, open_), p)
        fraction[:, m] = q
        settled = (p < 1e-9) | (p > 1 - 1e-9)
        open_ = torch.where(settled, m, open_)
    counts = counts + fraction.round()
    slots = torch.arange(k, device=u.device, dtype=weights.dtype).expand_as(weights)
    return torch.searchsorted(counts.cumsum(1), slots.contiguous(), right=True).clamp_max(k - 1)


def conditional(weights: Tensor, u: Tensor) -> Tensor:
    """The last particle stays, the others are drawn from all: what leaves the law of a kept path as it is.

    The only scheme here whose copies are not K W_i on average: for particle Gibbs alone.

    Source: Andrieu, Doucet & Holenstein 2010, doi:10.1111/j.1467-9868.2009.00736.x, section 4.3.
    """
    ancestors = multinomial(weights, u)
    ancestors[:, -1] = weights.shape[1] - 1
    return ancestors


RESAMPLERS: dict[str, Resampler] = {
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
    "ssp": ssp,
}


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 per group, (P,), between 1 and K; 0 where no weight is positive."""
    w = torch.softmax(log_weights, 1)
    return (1 / w.square().sum(1)).nan_to_num(0.0)


def log_mean(log_weights: Tensor) -> Tensor:
    """log mean w per group, (P,) nats."""
    return torch.logsumexp(log_weights, 1) - math.log(log_weights.shape[1])


def ancestry(
    log_weights: Tensor, fire: Tensor, scheme: Resampler, u: Tensor, tempering: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Who descends from whom, what it weighs then, and what has gone out of the weights.

    Ancestors are drawn with probabilities proportional to w^tempering; a copy of a weighs w_a^(1 - tempering), and the
    mean of w^tempering goes into the normalizer, so that weights and normalizer together stay unbiased. Groups without
    any weight draw uniformly.

    Args:
        log_weights: (P, K) float64, nats.
        fire: (P,) groups to be resampled; in others everybody is its own ancestor.
        scheme: of resampling.
        u: (P, K), uniform.
        tempering: power above 0.

    Returns:
        ancestors (P, K), log-weights (P, K), and what to add to the log-normalizer (P,).
    """
    dead = log_weights.isneginf().all(1)
    tempered = log_weights if tempering == 1 else tempering * log_weights
    weights = torch.softmax(tempered.masked_fill(dead[:, None], 0.0), 1)
    own = torch.arange(log_weights.shape[1], device=log_weights.device)
    ancestors = torch.where(fire[:, None], scheme(weights, u), own)
    rest = torch.zeros_like(log_weights)
    if tempering != 1:
        rest = ((1 - tempering) * log_weights).gather(1, ancestors).masked_fill(dead[:, None], 0.0)
    left = torch.where(fire[:, None], rest, log_weights)
    return ancestors, left, torch.where(fire, log_mean(tempered), 0.0)
