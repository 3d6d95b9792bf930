"""S-CFG: classifier-free guidance whose weight differs over the parts of a state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State, column
from guidekit.guidance.contrast.attention_maps import cross_maps, cross_regions, foreground, self_regions
from guidekit.guidance.contrast.branches import Branch
from guidekit.guidance.contrast.cfg import CFG
from guidekit.guidance.contrast.engine import everywhere
from guidekit.guidance.contrast.linear import linear
from guidekit.guidance.contrast.plans import Plan, kept_plan, network_sites, without_records
from guidekit.guidance.contrast.rules import Context, Rule
from guidekit.networks.perturbations import Choice, RecordMaps
from guidekit.networks.sites import SiteError, choose
from guidekit.networks.smoothing import smoothed
from guidekit.processes import DiscreteProcess

Regions = Tensor | Callable[[Tensor], Tensor] | str | None


@dataclasses.dataclass(frozen=True)
class RegionalCFG(CFG):
    """S-CFG: CFG whose weight is w times a rate for every place, by default equal energy in every region.

    The energy is the length of D_c - D_0 at a place, over the channels (of tokens, of centred logits). Regions are made
    of the conditional branch's attention, recorded in the call that answers both branches: where the network attends to
    its condition, the token of it that a place attends to most; otherwise the places whose self-attention is alike.

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

    regions: Regions = "attention"
    spatial_weight: Callable[[Tensor, Tensor, Tensor, Time], Tensor] | None = None
    low: float = 0.8
    high: float = 3.0
    most: float = 15.0
    smooth: float = 0.5
    sites: Choice = "all"
    count: int = 8
    apart: float = 0.25
    start_token: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings outside their ranges."""
        super().__post_init__()
        if isinstance(self.regions, str) and self.regions != "attention":
            raise ValueError(f"regions={self.regions!r}; accepted: attention, numbers, a function, or null for one")
        if not 0 < self.low <= self.high:
            raise ValueError(f"low={self.low}, high={self.high}: limits of a rate, 0 < low <= high")
        if not self.smooth >= 0 or self.count < 1 or not 0 <= self.apart <= 1:
            raise ValueError(
                f"smooth={self.smooth}, count={self.count}, apart={self.apart}: smooth is at least 0, count at least "
                "1, apart in [0, 1]"
            )

    @property
    def attends(self) -> bool:
        """Whether attention is recorded."""
        return self.spatial_weight is None and isinstance(self.regions, str)

    def recorded(self, run: Run) -> tuple[list[str], list[str]]:
        """Names of the sites of self-attention and of attention to a context that are looked at."""
        network, sites = network_sites(type(self).__name__, run)
        context = [site.name for site in sites if "cross_attention" in site.ports]
        try:
            return [site.name for site, _ in choose(network, sites, ("self_attention",), self.sites)], context
        except SiteError:
            if context:
                return [], context
            raise

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null or negative condition, and the condition; attention is recorded in both."""
        pair = super().branches(run)
        if not self.attends:
            return pair

        def make(purpose: str) -> Plan:
            own, context = self.recorded(run)
            several = ((own, "self_attention"), (context, "cross_attention"))
            return Plan(tuple(RecordMaps(tuple(names), port) for names, port in several if names), purpose)

        plan = kept_plan(run, self, make)
        return [dataclasses.replace(branch, perturbation=plan) for branch in pair]

    def check(self, run: Run) -> None:
        """Where attention is recorded, the network must have some, and nothing inside may contrast branches."""
        name, prior = type(self).__name__, run.prior
        if self.attends:
            for plug in run.plugs[: run.position(self)]:
                if plug.contrasts or getattr(plug, "replaces_network", False):
                    raise GuidanceError(
                        f"{name} looks at the attention behind its two branches and cannot wrap {type(plug).__name__}: "
                        "give regions="
                    )
            try:
                self.recorded(run)
            except (SiteError, GuidanceError) as error:
                raise GuidanceError(
                    f"{name} finds no attention in this prior ({prior.name}): {error}; give regions="
                ) from error
        super().check(run)

    def rule(self, run: Run) -> Rule:
        """See `region_rates`."""
        return Regional(self)

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`; nothing is recorded where the weight is 1."""
        if everywhere(self.weight_at(t, inner.run), 1):
            return inner(x, t, condition)
        return super().denoise(inner, x, t, condition)

    def combined(
        self, run: Run, x: State, t: Time, views: Sequence[Prediction], w: Time, rows: Tensor | None = None
    ) -> Prediction:
        """See `Contrast.combined`; the records are not kept."""
        guided = super().combined(run, x, t, views, w, rows)
        parts = {name: without_records(part) for name, part in guided.parts.items() if name in ("base", "positive")}
        return dataclasses.replace(guided, parts={**guided.parts, **parts})


@dataclasses.dataclass(frozen=True)
class Regional(Rule):
    """base + w rate (positive - base), in any space: a rate for every place."""

    plug: RegionalCFG

    def __call__(self, views: Sequence[Tensor], w: Time, context: Context) -> Tensor:
        """See `Rule`."""
        (base, positive), plug = views[:2], self.plug
        if plug.spatial_weight is not None:
            return base + column(w, base) * plug.spatial_weight(context.x, base, positive, w) * (positive - base)
        axis, step = channel_axis(context.run.prior.process, base), positive - base
        size = step.abs() if axis is None else step.norm(dim=axis)
        regions, inside = self.regions(context, size)
        if regions is None:
            return linear(base, positive, w)
        w_rows = torch.as_tensor(w, dtype=size.dtype, device=size.device).expand(len(size))
        rate = region_rates(size, regions, inside, w_rows, (plug.low, plug.high), plug.most)
        rate = smoothed(rate, range(1, rate.ndim), plug.smooth)
        return base + column(w, base) * (rate if axis is None else rate.unsqueeze(axis)) * step

    def regions(self, context: Context, size: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Regions and foreground, each of the shape of `size` (B, ...) or None for one region and for all."""
        plug = self.plug
        if plug.regions is None:
            return None, None
        if not isinstance(plug.regions, str):
            found = plug.regions(context.x) if callable(plug.regions) else torch.as_tensor(plug.regions)
            return found.to(size.device).expand(size.shape), None
        base, positive = (view.parts for view in context.views[:2])
        if "recorded" not in positive:  # nothing was asked, or a plug inside answered for the network
            return None, None
        own, attends = plug.recorded(context.run)
        shape = size.shape[1:]
        if not attends:
            return self_regions(_maps(positive, own, shape), shape, plug.count, plug.apart), None
        told, dims = cross_maps(_maps(positive, attends, shape), _maps(positive, own, shape))
        regions = cross_regions(told, dims, shape)
        if plug.start_token is None:
            return regions, None
        if not 0 <= plug.start_token < told.shape[2]:
            raise GuidanceError(
                f"RegionalCFG: start_token={plug.start_token}, and the condition has {told.shape[2]} tokens"
            )
        told, dims = cross_maps(_maps(base, attends, shape), _maps(base, own, shape))
        inside = foreground(told, dims, shape, plug.start_token)
        if context.rows is not None:  # the base was asked about these rows alone; the others keep the positive branch
            inside = torch.ones_like(regions, dtype=torch.bool).index_copy(0, context.rows, inside)
        return regions, inside


def _maps(parts: dict, names: Sequence[str], shape: Sequence[int]) -> list[tuple[Tensor, Sequence[int]]]:
    """Recorded maps with their grids.

    Raises:
        GuidanceError: tokens that lie on a grid of other dimensions than the state.
    """
    for name in names:
        dims, tokens = parts["dims"][name], parts["recorded"][name].shape[1]
        if len(dims) != len(shape) or math.prod(dims) > tokens:
            raise GuidanceError(
                f"RegionalCFG: {tokens} tokens on a grid {dims} at site {name} for states on a grid {tuple(shape)}; "
                "choose other sites="
            )
    return [(parts["recorded"][name], parts["dims"][name]) for name in names]


def channel_axis(process: object, states: Tensor) -> int | None:
    """Axis of a batch of states (B, *S) whose numbers belong to one place: the last of laws of tokens, otherwise the
    first of S; None for vectors, every number of which is a place.
    """
    if isinstance(process, DiscreteProcess):
        return states.ndim - 1
    return 1 if states.ndim > 2 else None


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
