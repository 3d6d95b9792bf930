"""Formulas that combine branches: functions of the support of a part, its representations (B, *S), and weights.

Every sum runs over one row, never over the batch, and sees no padding. A rule names the space it acts in; of tokens all
act on centered log-probabilities, where padding and known tokens are zero in every branch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.state import column
from guidekit.core.support import Support
from guidekit.guidance.contrast.schedules import Number

TINY = 1e-12


def ratio(a: Tensor | float, b: Tensor, otherwise: float = 0.0) -> Tensor:
    """a / b, and `otherwise` where b is not above zero; b is non-negative."""
    return torch.where(b > TINY, a / b.clamp_min(TINY), otherwise)


def cosine(support: Support, a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between two representations of every row, (B,); 1 where one of them is zero."""
    return ratio(support.dot(a, b), support.norm(a) * support.norm(b), 1.0)


def along(support: Support, a: Tensor, b: Tensor) -> Tensor:
    """The part of a that is parallel to b."""
    return column(ratio(support.dot(a, b), support.dot(b, b)), b) * b


def linear(base: Tensor, own: Tensor, weight: Number) -> Tensor:
    """base + w (own - base), and own bit for bit at w = 1."""
    return torch.lerp(base, own, column(weight, base))


def projected(
    support: Support, step: Tensor, own: Tensor, weight: Number, parallel: float, cap: float | None = None
) -> Tensor:
    """own + (w - 1) (perpendicular + parallel * along) of a step, whose length is capped first.

    Args:
        support: of the part.
        step: own - base, with momentum where there is one.
        own: the representation that the step is split along.
        weight: w, number or (B,).
        parallel: eta, factor of the parallel part.
        cap: greatest root mean square of the step, in the unit of the space; None is no cap.

    Source: Sadat et al. 2024, arXiv:2410.02416, algorithm 1.
    """
    if cap is not None:
        longest = cap * torch.as_tensor(support.dimensions(step), dtype=step.dtype, device=step.device) ** 0.5
        step = step * column(ratio(longest, support.norm(step), 1.0).clamp_max(1.0), step)
    part = along(support, step, own)
    return own + (column(weight, step) - 1) * (step - part + parallel * part)


def damped(support: Support, base: Tensor, own: Tensor) -> Tensor:
    """The base, projected onto the leading singular direction of the two stacked (2 x N, not centered).

    The direction follows from the 2 x 2 matrix of inner products.

    Source: Kwon et al. 2025, arXiv:2503.18137, algorithm 1.
    """
    p, q, r = support.dot(own, own), support.dot(own, base), support.dot(base, base)
    angle = 0.5 * torch.atan2(2 * q, p - r)  # of the leading eigenvector, in the plane of (own, base)
    return along(support, base, column(angle.cos(), own) * own + column(angle.sin(), base) * base)


def optimal_scale(support: Support, base: Tensor, own: Tensor) -> Tensor:
    """s* = <own, base> / ||base||^2, the multiple of the base that is nearest to the other, (B,).

    Source: Fan et al. 2025, arXiv:2503.18886, eq. 9.
    """
    return ratio(support.dot(own, base), support.dot(base, base))


def perpendicular(
    support: Support, base: Tensor, own: Tensor, negatives: Sequence[Tensor], weight: Number, strength: float
) -> Tensor:
    """base + w (p - b sum_j n_j'), with p and n_j the directions from the base and n_j' orthogonal to p.

    Source: Armandpour et al. 2023, arXiv:2304.04968, eq. 8.
    """
    direction = own - base
    for negative in negatives:
        away = negative - base
        direction = direction - strength * (away - along(support, away, own - base))
    return base + column(weight, base) * direction


def magnitude_weight(support: Support, base: Tensor, own: Tensor, weight: Number, alpha: float) -> Tensor:
    """1 + (w - 1) exp(-alpha ||own - base|| / ||base||), (B,).

    Source: Zhu et al. 2025, arXiv:2508.03442.
    """
    size = ratio(support.norm(own - base), support.norm(base), torch.inf)
    return 1 + (weight - 1) * torch.exp(-alpha * size)


def renormalized(support: Support, guided: Tensor, own: Tensor, most: float) -> Tensor:
    """The guided representation, no longer than `most` times the other."""
    return guided * column(ratio(most * support.norm(own), support.norm(guided), 1.0).clamp_max(1.0), guided)


def diverging(support: Support, whole: Tensor, concepts: Sequence[Tensor], tolerance: float) -> tuple[Tensor, Tensor]:
    """Which concepts the direction of the whole condition neglects.

    Args:
        support: of the part.
        whole: direction of the whole condition, (B, *S).
        concepts: directions of its concepts.
        tolerance: how far below their mean a cosine may be.

    Returns:
        cosines (B, K) and whether each is below the mean by more than the tolerance, (B, K) bool.
    """
    cosines = torch.stack([cosine(support, whole, concept) for concept in concepts], 1)
    return cosines, cosines < cosines.mean(1, keepdim=True) - tolerance
