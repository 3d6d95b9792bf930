"""Worse attention maps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.interventions.heads import Heads
from guidekit.interventions.operators.operator import Choice, Operator
from guidekit.interventions.places import Place
from guidekit.interventions.sites import SiteError
from guidekit.interventions.smoothing import smoothed


@dataclasses.dataclass(frozen=True)
class IdentityAttention(Operator):
    """Every token attends to itself alone: the attention map is the identity, what it receives is its own value.

    At a graph layer every node receives its own message only.

    Source: Ahn et al. 2024, arXiv:2403.17377, eq. 12.
    """

    sites: Choice = "all"
    ports = ("self_attention", "message_passing")
    loops = True

    def attention(self, heads: Heads, place: Place, companion: Heads | None) -> Tensor:
        """See `Operator.attention`."""
        if heads.q.shape[2] != heads.v.shape[2]:
            raise SiteError(
                f"IdentityAttention at site {place.site.name}: {heads.q.shape[2]} queries and {heads.v.shape[2]} "
                "values, so this is no self-attention; choose other sites"
            )
        return heads.v

    def kept(self, source: Tensor, target: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """See `Operator.kept`: none."""
        return torch.zeros_like(source, dtype=torch.bool)


@dataclasses.dataclass(frozen=True)
class TemperAttention(Operator):
    """Attention logits divided by a temperature: infinity is the mean of all values, towards 0 the nearest key.

    Args:
        temperature: above 0, dimensionless; may be infinite.
        sites: which.

    Raises:
        ValueError: temperature not above 0.
    """

    temperature: float = math.inf
    sites: Choice = "all"
    ports = ("self_attention", "cross_attention")

    def __post_init__(self) -> None:
        """Refuse what is no temperature."""
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}; it must be above 0")

    def attention(self, heads: Heads, place: Place, companion: Heads | None) -> Tensor:
        """See `Operator.attention`; masks keep their meaning."""
        return dataclasses.replace(heads, q=heads.q / self.temperature).out()


@dataclasses.dataclass(frozen=True)
class BlurQuery(Operator):
    """Queries smoothed along the grid of tokens by a Gaussian, which smooths the attention logits of every key.

    Args:
        sigma: standard deviation in tokens; 0 is nothing, infinity gives all tokens the mean query.
        sites: which.

    Means are over the tokens that may be changed: padding and leading tokens give and take nothing.

    Raises:
        ValueError: sigma below 0.

    Source: Hong 2024, arXiv:2408.00760, eq. 13; without its cut of the Gaussian, and renormalized at edges.
    """

    sigma: float = math.inf
    sites: Choice = "all"
    ports = ("self_attention",)

    def __post_init__(self) -> None:
        """Refuse what is no width."""
        if not self.sigma >= 0:
            raise ValueError(f"sigma={self.sigma}; accepted: 0 (nothing) to infinity")

    def attention(self, heads: Heads, place: Place, companion: Heads | None) -> Tensor:
        """See `Operator.attention`."""
        leading = place.site.leading
        head, q = heads.q[:, :, :leading], heads.q[:, :, leading:]
        dims, count = place.dims, q.shape[2]
        if math.prod(dims) != count:
            raise SiteError(
                f"BlurQuery at site {place.site.name}: {count} tokens do not fill a grid of "
                f"{' x '.join(map(str, dims))}; give a rule whose site has dims= and leading="
            )
        valid = None
        if place.movable is not None:
            valid = place.movable[:, leading:].view(len(q), 1, *dims, 1)
        axes = range(2, 2 + len(dims))
        flat = smoothed(q.unflatten(2, dims), axes, self.sigma, valid).flatten(2, 1 + len(dims))
        return dataclasses.replace(heads, q=torch.cat([head, flat], 2)).out()
