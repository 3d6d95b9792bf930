"""Resampling schemes: weights to ancestors, unbiased (E[copies of i] = K W_i), all groups at once.

Every scheme takes weights (P, K) float64 summing to one per group and uniform numbers (P, K), and returns ancestors
(P, K) int64. A particle of weight zero is never chosen.

Sources: Douc, Cappe & Moulines 2005, arXiv:cs/0507025; SSP: Gerber, Chopin & Whiteley 2019, arXiv:1708.02230.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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


RESAMPLERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
    "ssp": ssp,
}
