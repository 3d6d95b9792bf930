"""Attention led away from another context."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.interventions.heads import Heads, join_heads
from guidekit.interventions.operators.operator import Choice, Operator
from guidekit.interventions.places import Place
from guidekit.interventions.sites import SiteError


@dataclasses.dataclass(frozen=True)
class NegativeExtrapolate(Operator):
    """Attention to a context is led away from what the same queries find in another, row by row (NAG).

    The other context is that of companion rows, which code -c marks for rows of code c; see `extrapolated`.

    Args:
        scale: phi, 0 is nothing.
        most: tau, greatest growth of the norm of what a token receives.
        blend: alpha, share of the extrapolated output.
        norm: 1 or 2.
        sites: which.

    Source: Chen et al. 2025, arXiv:2505.21179, eq. 7-10.
    """

    scale: float = 4.0
    most: float = 2.5
    blend: float = 0.25
    norm: int = 1
    sites: Choice = "all"
    ports = ("cross_attention",)

    def __post_init__(self) -> None:
        """Refuse settings outside their ranges."""
        if self.norm not in (1, 2) or self.most < 1 or not 0 <= self.blend <= 1:
            raise ValueError(
                f"norm={self.norm}, most={self.most}, blend={self.blend}: norm is 1 or 2, most at least 1, "
                "blend in [0, 1]"
            )

    def attention(self, heads: Heads, place: Place, companion: Heads | None) -> Tensor:
        """See `Operator.attention`."""
        if companion is None:
            raise SiteError(
                f"NegativeExtrapolate at site {place.site.name} needs companion rows with the other context"
            )
        positive, negative = heads.out(), dataclasses.replace(companion, q=heads.q).out()
        settings = (self.scale, self.most, self.blend, self.norm)
        z = extrapolated(join_heads(positive), join_heads(negative), *settings)
        return z.unflatten(-1, (heads.q.shape[1], -1)).transpose(1, 2)


def extrapolated(positive: Tensor, negative: Tensor, scale: float, most: float, blend: float, norm: int = 1) -> Tensor:
    """alpha Z' + (1 - alpha) Z+ with Z = Z+ + phi (Z+ - Z-), and Z' = Z cut to a norm of tau ||Z+|| a token.

    Args:
        positive, negative: Z+ and Z-, (B, N, C), what every token receives over all heads.
        scale, most, blend: phi, tau, alpha.
        norm: 1 as in the paper or 2 as in its authors' code.

    Source: Chen et al. 2025, arXiv:2505.21179, eq. 7-10.
    """
    z = positive + scale * (positive - negative)
    sizes = [v.norm(p=norm, dim=-1, keepdim=True) for v in (z, positive)]
    z = z * (most * sizes[1] / sizes[0].clamp_min(torch.finfo(z.dtype).tiny)).clamp_max(1.0)
    return positive + blend * (z - positive)
