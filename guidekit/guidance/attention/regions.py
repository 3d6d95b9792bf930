"""S-CFG: classifier-free guidance whose weight differs over the parts of a state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.prediction import CategoricalPrediction, Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Question
from guidekit.core.requirements import Fact
from guidekit.core.state import altered
from guidekit.core.support import Support
from guidekit.guidance.attention.maps import cross_maps, cross_regions, foreground, self_regions
from guidekit.guidance.attention.plans import Plan, Records, marked, network_sites, sites_of
from guidekit.guidance.contrast import Answers, Branch, Contrast, Number, Rule, Schedules, Weight, base, contrast, rules
from guidekit.guidance.contrast.rule import one_kind
from guidekit.interventions.operators import Choice, RecordMaps
from guidekit.interventions.selection import choose
from guidekit.interventions.sites import SiteError
from guidekit.interventions.smoothing import smoothed
from guidekit.registry import register

Regions = Tensor | Callable[[Tensor], Tensor] | str | None
Rates = Callable[[Tensor, Tensor, Tensor, Number], Tensor]
Found = tuple[Tensor | None, Tensor | None]
"""Regions and foreground of states, each (B, ...) over places, or None for one region and for all."""


@register("guidance", "s_cfg")
def RegionalCFG(  # noqa: N802 - a preset
    weight: Weight = 2.0,
    negative: Any = None,
    schedule: Schedules = None,
    rescale: float = 0.0,
    regions: Regions = "attention",
    spatial_weight: Rates | None = None,
    low: float = 0.8,
    high: float = 3.0,
    most: float = 15.0,
    smooth: float = 0.5,
    sites: Choice = "all",
    count: int = 8,
    apart: float = 0.25,
    start_token: int | None = None,
) -> Contrast:
    """S-CFG: CFG whose weight is w times a rate for every place, by default equal energy in every region.

    The energy is the length of D_c - D_0 at a place, over the channels (of tokens, of centered logits). Regions are
    made of the conditional branch's attention, recorded in the call that answers both branches: where the network
    attends to its condition, the token of it that a place attends to most; otherwise the places whose self-attention is
    alike.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        regions: "attention"; or the number of every place's region, whole numbers (*S without channels) or (B, ...); or
            a function of the noisy state (B, *S) -> (B, ...); None is one region, which is `CFG`.
        spatial_weight: (x, base, positive, w) -> rates that broadcast against the state, in place of the regions.
        low, high: limits of a rate.
        most: greatest weight times rate.
        smooth: standard deviation of a Gaussian that smooths the rates, in steps of the state's grid; 0 is none.
        sites: self-attention that is looked at.
        count: most regions of self-attention.
        apart: least total variation between the attention of two regions of self-attention, in [0, 1].
        start_token: number of the condition's token that stands for nothing (0 for text that begins with one): places
            that attend to it more than to the others together do not set the energy that is aimed at.

    Raises:
        ValueError: settings outside their ranges.

    Source: Shen et al. 2024, arXiv:2404.05384, eq. 5-10, with limits of the authors' code; regions of self-attention
    alone are ours.
    """
    if isinstance(regions, str) and regions != "attention":
        raise ValueError(f"regions={regions!r}; accepted: attention, numbers, a function, or null for one")
    if not 0 < low <= high < math.inf or not most > 0:
        raise ValueError(f"low={low}, high={high}, most={most}: limits of a rate, 0 < low <= high, most above 0")
    if not smooth >= 0 or count < 1 or not 0 <= apart <= 1:
        raise ValueError(
            f"smooth={smooth}, count={count}, apart={apart}: smooth is at least 0, count at least 1, apart in [0, 1]"
        )
    attention = Attention(sites, count, apart, start_token)
    watched = spatial_weight is None and isinstance(regions, str)

    def places(answers: Answers, size: Tensor) -> Found:
        if regions is None or isinstance(regions, str):
            return attention.found(answers, size.shape[1:]) if watched else (None, None)
        found = regions(answers.own.state) if callable(regions) else torch.as_tensor(regions)
        return found.to(size.device).expand(size.shape), None

    def combine(answers: Answers, weight: Number) -> Prediction:
        tokens = isinstance(answers.own, CategoricalPrediction)

        def formula(support: Support, w: Number, base: Tensor, own: Tensor) -> Tensor:
            if spatial_weight is not None:
                rate = spatial_weight(answers.own.state, base, own, w)
                return rules.linear(base, own, (w * rate).expand_as(base).to(base))
            axis = base.ndim - 1 if tokens else 1 if base.ndim > 2 else None  # numbers of one place lie along it
            size = (own - base).abs() if axis is None else (own - base).norm(dim=axis)
            found, inside = places(answers, size)
            if found is None:
                return rules.linear(base, own, w)
            rows = torch.as_tensor(weight, dtype=size.dtype, device=size.device).expand(len(size))
            rate = smoothed(region_rates(size, found, inside, rows, (low, high), most), range(1, size.ndim), smooth)
            return rules.linear(base, own, w * (rate if axis is None else rate.unsqueeze(axis)))

        guided = answers.mapped(formula, weight)  # the records are not kept
        return altered(guided, notes={key: note for key, note in guided.notes.items() if not isinstance(note, Records)})

    rule = Rule(combine, timeless=not callable(regions) and spatial_weight is None, check=one_kind)
    made = contrast("RegionalCFG", base(negative), rule, weight, schedule, rescale)
    pair = (*made.branches, made.own)
    first, own = (Watched(attention, branch) if watched else branch for branch in pair)
    return dataclasses.replace(made, branches=(first,), own=own)


@dataclasses.dataclass(frozen=True)
class Attention:
    """The attention of a network that is recorded.

    Args:
        sites: self-attention; that to a context is recorded wherever there is some.
        count, apart, start_token: see `RegionalCFG`.
        plans: of the networks asked so far.
    """

    sites: Choice
    count: int
    apart: float
    start_token: int | None
    plans: dict[nn.Module, Plan] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def names(self, network: nn.Module) -> tuple[list[str], list[str]]:
        """Names of the sites of self-attention and of attention to a context.

        Raises:
            SiteError: neither.
        """
        sites = sites_of(network)
        context = [site.name for site in sites if "cross_attention" in site.ports]
        try:
            return [site.name for site, _ in choose(network, sites, ("self_attention",), self.sites)], context
        except SiteError:
            if context:
                return [], context
            raise

    def plan(self, network: nn.Module) -> Plan:
        """What records it in a network."""
        if network not in self.plans:
            several = zip(self.names(network), ("self_attention", "cross_attention"), strict=True)
            self.plans[network] = Plan(tuple(RecordMaps(tuple(names), port) for names, port in several if names))
        return self.plans[network]

    def found(self, answers: Answers, shape: Sequence[int]) -> Found:
        """Regions and foreground of states on a grid, from the records of both answers."""
        network = network_sites("RegionalCFG", answers.question.prior)[0]
        plan, (own, attends) = self.plan(network), self.names(network)
        base, positive = (view.notes.get(plan) for view in (answers.base, answers.own))
        if positive is None or base is None:  # nothing was asked, as nothing is unknown
            return None, None
        if not attends:
            return self_regions(maps(positive, own, shape), shape, self.count, self.apart), None
        told, dims = cross_maps(maps(positive, attends, shape), maps(positive, own, shape))
        regions = cross_regions(told, dims, shape)
        if self.start_token is None:
            return regions, None
        if not 0 <= self.start_token < told.shape[2]:
            raise GuidanceError(
                f"RegionalCFG: start_token={self.start_token}, and the condition has {told.shape[2]} tokens"
            )
        told, dims = cross_maps(maps(base, attends, shape), maps(base, own, shape))
        return regions, foreground(told, dims, shape, self.start_token)


@dataclasses.dataclass(frozen=True)
class Watched(Branch):
    """Another branch, whose attention is recorded; in both, as they may be asked about in several calls.

    Args:
        attention: what is recorded.
        branch: that is watched.
    """

    attention: Attention
    branch: Branch

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """As the branch."""
        return self.branch.requires

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """See `Branch`."""
        asked = self.branch(question, owner)
        return marked(asked, self.attention.plan(network_sites(owner.name, asked.prior)[0]), owner)

    def alone(self, prior: Prior) -> str:
        """See `Branch.alone`."""
        return "looks at the attention behind its two branches and cannot wrap {inside}: give regions="

    def check(self, name: str, prior: Prior) -> None:
        """See `Branch.check`."""
        self.branch.check(name, prior)
        try:
            self.attention.names(network_sites(name, prior)[0])
        except (SiteError, GuidanceError) as error:
            raise GuidanceError(
                f"{name} finds no attention in this prior ({prior.name}): {error}; give regions="
            ) from error


def maps(records: Records, names: Sequence[str], shape: Sequence[int]) -> list[tuple[Tensor, Sequence[int]]]:
    """Recorded maps with their grids.

    Raises:
        GuidanceError: tokens that lie on a grid of other dimensions than the state.
    """
    for name in names:
        dims, tokens = records.dims[name], records.values[name].shape[1]
        if len(dims) != len(shape) or math.prod(dims) > tokens:
            raise GuidanceError(
                f"RegionalCFG: {tokens} tokens on a grid {dims} at site {name} for states on a grid {tuple(shape)}; "
                "choose other sites="
            )
    return [(records.values[name], records.dims[name]) for name in names]


def region_rates(
    size: Tensor,
    regions: Tensor,
    foreground: Tensor | None,
    weight: Tensor,
    limits: tuple[float, float] = (0.8, 3.0),
    most: float = 15.0,
) -> Tensor:
    """Rates (B, ...) that give every region the mean length of direction of the foreground, within limits.

    Args:
        size: length of the direction at every place, (B, ...).
        regions: region of every place, whole numbers from 0, (B, ...).
        foreground: places whose mean length is the aim, bool (B, ...); None is all.
        weight: w, (B,); no rate exceeds most / w, which goes before the limits.
        limits: least and greatest rate.
        most: see weight.

    Source: Shen et al. 2024, arXiv:2404.05384, eq. 8-10.
    """
    flat, where = size.flatten(1), regions.flatten(1).long()
    zero = torch.zeros(len(flat), int(where.max()) + 1, dtype=flat.dtype, device=flat.device)
    total, count = zero.scatter_add(1, where, flat), zero.scatter_add(1, where, torch.ones_like(flat))
    if foreground is None:  # the sum over regions, so that one region has a rate of exactly 1
        aim = total.sum(1, keepdim=True) / flat.shape[1]
    else:
        inside = foreground.flatten(1).to(flat)
        aim = (flat * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp_min(1)
    mean = total / count.clamp_min(1)
    rate = torch.where(mean > 0, aim / mean.clamp_min(torch.finfo(mean.dtype).tiny), 1.0).clamp(*limits)
    return torch.minimum(rate.gather(1, where), most / weight[:, None].clamp_min(1e-12)).view_as(size)
