"""What can be done to a network at its sites, for chosen rows of a call: see `guidekit.networks.installed`.

An operator is a frozen description. Its random numbers are functions of the row's seed, the site and the token, so a
row gets the same ones whatever is asked about beside it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guidekit.networks.heads import Heads
from guidekit.networks.installation import Installation, Place
from guidekit.networks.sites import SiteError
from guidekit.networks.smoothing import smoothed

Choice = str | int | Sequence[str | int]
"""Of sites, see `guidekit.networks.sites.choose`."""


class Operator:
    """Base of the operators: subclasses have the method of their port.

    Attributes:
        ports: where it acts; of several the first that a site has.
        sites: which sites of these ports.
        random: whether it draws numbers.
    """

    ports: ClassVar[tuple[str, ...]]
    random: ClassVar[bool] = False
    sites: Choice

    def attention(self, heads: Heads, place: Place, companion: Heads | None, work: Installation) -> Tensor | None:
        """What the tokens receive, (b, h, N, e), in place of heads.out(); None changes nothing."""
        raise NotImplementedError(f"{type(self).__name__} does not act on attention")

    def input(self, x: Tensor, place: Place) -> Tensor:
        """Another input in place of tokens x (b, N, C)."""
        raise NotImplementedError(f"{type(self).__name__} does not act on inputs")

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """Another output in place of x (b, ...), the output of that number of the module."""
        raise NotImplementedError(f"{type(self).__name__} does not act on outputs")


@dataclasses.dataclass(frozen=True)
class IdentityAttention(Operator):
    """Every token attends to itself alone: the attention map is the identity, what it receives is its own value.

    At a graph layer every node receives its own message only.

    Source: Ahn et al. 2024, arXiv:2403.17377, eq. 12.
    """

    sites: Choice = "all"
    ports = ("self_attention", "message_passing")

    def attention(self, heads: Heads, place: Place, companion: Heads | None, work: Installation) -> Tensor:
        """See `Operator.attention`."""
        if heads.q.shape[2] != heads.v.shape[2]:
            raise SiteError(
                f"IdentityAttention at site {place.site.name}: {heads.q.shape[2]} queries and {heads.v.shape[2]} "
                "values, so this is no self-attention; choose other sites"
            )
        return heads.v

    def kept(self, source: Tensor, target: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """No edge."""
        return torch.zeros_like(source, dtype=torch.bool)

    loops: ClassVar[bool] = True


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

    def attention(self, heads: Heads, place: Place, companion: Heads | None, work: Installation) -> Tensor:
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

    Source: Hong 2024, arXiv:2408.00760, eq. 13; without its cut of the Gaussian, and renormalised at edges.
    """

    sigma: float = math.inf
    sites: Choice = "all"
    ports = ("self_attention",)

    def __post_init__(self) -> None:
        """Refuse what is no width."""
        if not self.sigma >= 0:
            raise ValueError(f"sigma={self.sigma}; accepted: 0 (nothing) to infinity")

    def attention(self, heads: Heads, place: Place, companion: Heads | None, work: Installation) -> Tensor:
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


@dataclasses.dataclass(frozen=True)
class ShuffleTokens(Operator):
    """The tokens at the input of a unit in another order, for every row its own; not undone behind it.

    Padding and leading tokens keep their places. Every token keeps its numbers, so norms are kept exactly.

    Source: Rajabi et al. 2025, arXiv:2506.10036, section 4; there with one order for the batch.
    """

    sites: Choice = "all"
    ports = ("tokens",)
    random = True

    def input(self, x: Tensor, place: Place) -> Tensor:
        """See `Operator.input`."""
        order = shuffled(place.uniform(x.shape[1]), place.movable)
        return x.gather(1, order[..., None].expand_as(x))


def shuffled(u: Tensor, movable: Tensor | None) -> Tensor:
    """A permutation of the movable tokens of every row, (B, N) int64, from uniform numbers u (B, N)."""
    if movable is None:
        return u.argsort(1)
    drawn = u.masked_fill(~movable, 2.0).argsort(dim=1, stable=True)  # movable tokens in random order, then the others
    place = (~movable).to(torch.int8).argsort(dim=1, stable=True)  # where movable tokens are, then the others
    return torch.empty_like(drawn).scatter(1, place, drawn)


@dataclasses.dataclass(frozen=True)
class DropBlock(Operator):
    """Residual units left out: their output is what they would have added to.

    Args:
        rate: share of the chosen units that is left out, drawn anew for every row and call; rounded to whole units, and
            at least one where it is above 0. 1 leaves out all, without a draw.
        sites: which.

    Raises:
        ValueError: a rate outside [0, 1].
    """

    rate: float = 1.0
    sites: Choice = "all"
    ports = ("block",)

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate={self.rate}; accepted: 0 (none) to 1 (all)")

    @property
    def random(self) -> bool:
        """Whether units are drawn."""
        return 0 < self.rate < 1

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """See `Operator.output`."""
        count = how_many(self.rate, place.count)
        if count == 0:
            return x
        left = self.left(x, number, place)
        if count == place.count:
            return left
        u = place.uniform(place.count, shared=True)
        dropped = (u < u[:, place.index : place.index + 1]).sum(1) < count
        return torch.where(dropped.view(-1, *[1] * (x.ndim - 1)), left, x)

    def left(self, x: Tensor, number: int, place: Place) -> Tensor:
        """What is there without the unit."""
        if place.site.rest == "zero":
            return torch.zeros_like(x)
        first = place.args[number] if number < len(place.args) else None
        if first is None and number == 0:
            first = next(iter(place.kwargs.values()))
        if not isinstance(first, Tensor):
            raise SiteError(f"DropBlock at site {place.site.name}: its output {number} has no input to stand for it")
        first = first[place.rows]
        if place.site.rest == "skip":
            first = place.site.ports["block"].skip(first)
        if first.shape != x.shape:
            raise SiteError(
                f"DropBlock at site {place.site.name}: it turns {tuple(first.shape)} into {tuple(x.shape)}, so nothing "
                "can stand for it; choose other sites"
            )
        return first


def how_many(rate: float, count: int) -> int:
    """Units out of `count` that a share means: rounded, and at least one above 0."""
    return 0 if rate == 0 else max(1, math.floor(rate * count + 0.5))


@dataclasses.dataclass(frozen=True)
class _DropBranch(Operator):
    """A branch of residual units adds nothing."""

    sites: Choice = "all"

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """See `Operator.output`."""
        return torch.zeros_like(x)


@dataclasses.dataclass(frozen=True)
class DropAttention(_DropBranch):
    """Attention adds nothing to the residual stream."""

    ports = ("attention_output",)


@dataclasses.dataclass(frozen=True)
class DropFeed(_DropBranch):
    """The feed-forward branch adds nothing to the residual stream."""

    ports = ("feed",)


@dataclasses.dataclass(frozen=True)
class NoiseEmbedding(Operator):
    """Normal noise added to what the network is told about the time (or the condition, by name of the site).

    Args:
        scale: standard deviation of the noise, in the unit of the embedding; times t^alpha where the caller knows t.
        sites: which.
        port: "time_embedding" or "condition_embedding".

    Source: Sadat et al. 2024, arXiv:2407.02687, section 4.2.
    """

    scale: float = 1.0
    sites: Choice = "all"
    port: str = "time_embedding"
    random = True

    @property
    def ports(self) -> tuple[str, ...]:
        """The one given."""
        return (self.port,)

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """See `Operator.output`."""
        u = place.uniform(x[0].numel())
        normal = math.sqrt(2) * torch.erfinv(2 * u - 1)
        return x + self.scale * normal.view(x.shape).to(x)


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

    def attention(self, heads: Heads, place: Place, companion: Heads | None, work: Installation) -> Tensor:
        """See `Operator.attention`."""
        if companion is None:
            raise SiteError(
                f"NegativeExtrapolate at site {place.site.name} needs companion rows with the other context"
            )
        other = dataclasses.replace(companion, q=heads.q)
        z = extrapolated(*(_joined(h.out()) for h in (heads, other)), self.scale, self.most, self.blend, self.norm)
        return z.unflatten(-1, (heads.q.shape[1], -1)).transpose(1, 2)


def _joined(z: Tensor) -> Tensor:
    return z.transpose(1, 2).flatten(2)


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


@dataclasses.dataclass(frozen=True)
class MaskEdges(Operator):
    """Edges of a graph left out of a layer, both directions together: the graph's counterpart of worse attention.

    Args:
        rate: probability that an edge is left out, in [0, 1].
        sites: which layers.
    """

    rate: float = 0.5
    sites: Choice = "all"
    ports = ("message_passing",)
    random = True
    loops: ClassVar[bool] = False

    def kept(self, source: Tensor, target: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Edges that stay, (E,) bool; loops do. draw: names of edges (E,) -> uniform numbers (E,)."""
        low, high = torch.minimum(source, target), torch.maximum(source, target)
        return (draw(low * (1 << 31) + high) >= self.rate) | (source == target)


@dataclasses.dataclass(frozen=True)
class Record(Operator):
    """Keeps how much attention every token receives, the mean over heads of the sum over queries (average 1).

    `Probe.records` has it, a tensor (b, M) a call. Nothing is changed.

    Args:
        sites: which.
        whole: whether the maps themselves are kept, (b, h, N, M).
    """

    sites: Choice = "middle"
    whole: bool = False
    ports = ("self_attention", "cross_attention")

    def attention(self, heads: Heads, place: Place, companion: Heads | None, work: Installation) -> None:
        """See `Operator.attention`."""
        weights = heads.weights()
        kept = weights if self.whole else weights.mean(1).sum(1)
        rows = place.rows if work.index is None else work.index.to(place.rows.device)[place.rows]
        work.probe.records.setdefault(place.site.name, []).append((rows, kept, place.dims))


@dataclasses.dataclass(frozen=True)
class Custom(Operator):
    """A function of your own.

    Args:
        function: (tensor, place) -> tensor of the same shape; of attention it gets what tokens receive, (b, h, N, e).
        port: where, see `guidekit.networks.sites`.
        sites: which.
        draws: whether it uses `place.uniform`.
    """

    function: Callable[[Any, Place], Any]
    port: str = "block"
    sites: Choice = "all"
    draws: bool = False

    @property
    def ports(self) -> tuple[str, ...]:
        """The one given."""
        return (self.port,)

    @property
    def random(self) -> bool:
        """As given."""
        return self.draws

    def attention(self, heads: Heads, place: Place, companion: Heads | None, work: Installation) -> Tensor:
        """See `Operator.attention`."""
        return self.function(heads.out(), place)

    def input(self, x: Tensor, place: Place) -> Tensor:
        """See `Operator.input`."""
        return self.function(x, place)

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """See `Operator.output`."""
        return self.function(x, place) if number == 0 else x
