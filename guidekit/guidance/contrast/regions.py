"""Weights that differ over the parts of a state: semantic-aware and given maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidekit.core.population import Time
from guidekit.core.run import Run
from guidekit.core.state import right_pad
from guidekit.guidance.contrast.cfg import CFG
from guidekit.guidance.contrast.rules import Rule


@dataclasses.dataclass(frozen=True)
class RegionalCFG(CFG):
    """S-CFG: CFG whose weight is w times a rate for every pixel (or token), by default equal energy in every region.

    Acts on noise predictions; of tokens on centred logits. Without regions it is CFG.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        regions: number of every pixel's region, whole numbers (*S without channels) or (B, ...); or a function of the
            noisy state (B, *S) -> (B, ...), such as one that looks at recorded attention maps.
        spatial_weight: (x, base, positive, w) -> rates that broadcast against the state, in place of the regions.
        low, high: limits of a rate.
        most: greatest weight times rate.
        channels: axis of the state over which the length of the direction is taken, 1 for images, -1 for tokens.

    Source: Shen et al. 2024, arXiv:2404.05384, eq. 8-10, with limits of the authors' code; without its smoothing.
    """

    regions: Tensor | Callable[[Tensor], Tensor] | None = None
    spatial_weight: Callable[[Tensor, Tensor, Tensor, Time], Tensor] | None = None
    low: float = 0.8
    high: float = 3.0
    most: float = 15.0
    channels: int = 1

    def rule(self, run: Run) -> Rule:
        """See `region_rates`."""
        return Regional(self)


@dataclasses.dataclass(frozen=True)
class Regional(Rule):
    """base + w rate (positive - base)."""

    plug: RegionalCFG
    space = "eps"

    def __call__(self, views: Sequence[Tensor], w: Time, context: object) -> Tensor:
        """See `Rule`."""
        (base, positive), plug = views[:2], self.plug
        step = positive - base
        if plug.spatial_weight is not None:
            rate = plug.spatial_weight(context.x, base, positive, w)
        elif plug.regions is None:
            rate = 1.0
        else:
            regions = plug.regions(context.x) if callable(plug.regions) else torch.as_tensor(plug.regions)
            axis = plug.channels if plug.channels >= 0 else step.ndim + plug.channels
            size = step.norm(dim=axis)
            regions = regions.to(step.device).expand(size.shape)
            w_rows = torch.as_tensor(w, dtype=step.dtype, device=step.device).expand(len(step))
            rate = region_rates(size, regions, None, w_rows, (plug.low, plug.high), plug.most).unsqueeze(axis)
        return base + right_pad(w, base) * rate * step


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
        size: length of the direction at every pixel, (B, ...).
        regions: region of every pixel, whole numbers from 0, (B, ...).
        foreground: pixels whose mean length is the aim, bool (B, ...); None is all.
        weight: w, (B,); no rate exceeds most / w, which goes before the limits.
        limits: least and greatest rate.
        most: see weight.

    Source: Shen et al. 2024, arXiv:2404.05384, eq. 8-10.
    """
    flat, where = size.flatten(1), regions.flatten(1).long()
    inside = torch.ones_like(flat) if foreground is None else foreground.flatten(1).to(flat)
    aim = (flat * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp_min(1)
    zero = torch.zeros(len(flat), int(where.max()) + 1, dtype=flat.dtype, device=flat.device)
    total, count = zero.scatter_add(1, where, flat), zero.scatter_add(1, where, torch.ones_like(flat))
    rate = (aim / (total / count.clamp_min(1)).clamp_min(1e-12)).clamp(*limits).gather(1, where)
    return torch.minimum(rate, most / weight[:, None].clamp_min(1e-12)).view_as(size)
