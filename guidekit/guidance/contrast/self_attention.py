"""SAG: away from what the prior says of its own estimate, blurred where it attends."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.core.run import Run
from guidekit.core.state import State, column
from guidekit.guidance.contrast.attention_maps import upsampled
from guidekit.guidance.contrast.branches import UNCONDITIONAL, Branch, evaluate
from guidekit.guidance.contrast.engine import Contrast, everywhere, framed
from guidekit.guidance.contrast.linear import contrast
from guidekit.guidance.contrast.perturbed import Perturbed, refuse_inside
from guidekit.guidance.contrast.plans import Plan, kept_plan, network_sites, without_records
from guidekit.guidance.contrast.schedules import Schedule, weight_at
from guidekit.networks.perturbations import Record
from guidekit.networks.sites import SiteError, choose
from guidekit.networks.smoothing import smoothed


@dataclasses.dataclass(frozen=True)
class SAG(Contrast):
    """Self-attention guidance: e = e_cfg + s (e_0 - e(x_deg)), x_deg made of the clean estimate blurred and e_0.

    x_deg = a (M blur(D_0) + (1 - M) D_0) + s_t e_0 with M = 1 where a token receives more than `threshold` times the
    average attention. 0 is the null branch where there is classifier-free guidance, otherwise the only one. The second
    call follows the first.

    Args:
        scale: s; a number, or a function of t.
        sigma: standard deviation of the blur, in pixels (steps of the state's last axes).
        threshold: psi, in units of the average; null is no mask: blur guidance, which needs no attention.
        site: the self-attention that is looked at; one site, the middle of those that are chosen.
        weight, schedule: see `PAG`.
        space: "eps" as in the source, or "x0" for D = D_cfg + s (D_0 - D(x_deg)). They differ, as the two answers are
            of different states; on an exact Gaussian field the first narrows fine scales and the second widens them.

    Raises:
        ValueError: settings outside their ranges.

    Source: Hong et al. 2022, arXiv:2210.00939, algorithm 1.
    """

    scale: float | Callable[[Time], Time] = 0.75
    sigma: float = 1.0
    threshold: float | None = 1.0
    site: str | int = "middle"
    weight: float | Callable[[Time], Time] = 1.0
    schedule: Schedule | Sequence[float] | None = None
    space: str = "eps"
    tokens = False
    needs = ("network with self-attention, real-valued states",)
    timeless = False

    def __post_init__(self) -> None:
        """Refuse settings outside their ranges."""
        if self.space not in ("eps", "x0") or not self.sigma >= 0:
            raise ValueError(f"space={self.space!r}, sigma={self.sigma}: space is eps or x0, sigma at least 0")

    needs_condition = Perturbed.needs_condition
    scale_at = Perturbed.scale_at

    def branches(self, run: Run) -> Sequence[Branch]:
        """Null and condition; attention is recorded in both, as they may be asked about in several calls."""
        plan = None
        if self.threshold is not None:
            plan = kept_plan(run, self, partial(Plan, (Record(self.recorded(run)),)))
        if self.needs_condition:
            return (Branch(UNCONDITIONAL.condition, perturbation=plan), Branch(perturbation=plan))
        return (Branch(perturbation=plan),)

    def recorded(self, run: Run) -> str:
        """Name of the site that is looked at."""
        network, sites = network_sites("SAG", run)
        try:
            chosen = choose(network, sites, ("self_attention",), self.site)
        except SiteError as error:
            raise GuidanceError(
                f"SAG cannot work with this prior ({run.prior.name}): {error}; or threshold=null"
            ) from error
        return chosen[len(chosen) // 2][0].name

    def check(self, run: Run) -> None:
        """The states must lie on a grid, and the network attend to it."""
        super().check(run)
        refuse_inside("SAG", run, run.position(self))
        self.axes(run)
        self.branches(run)

    def axes(self, run: Run) -> tuple[int, ...]:
        """Axes of a batch of states that are blurred: all behind the channels, or the only one."""
        shape = run.prior.event_shape
        return (1,) if len(shape) == 1 else tuple(range(2, len(shape) + 1))

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        run = inner.run
        w, s = weight_at(self.weight, None, t, run), self.scale_at(t, run)
        branches = self.branches(run)
        if everywhere(s, 0):
            branches = [dataclasses.replace(branch, perturbation=None) for branch in branches]
        views = evaluate(inner, x, t, condition, branches)
        base = views[0]
        if len(views) == 2:
            views = framed(run, views, t, None)
            guided = contrast(views[0], views[1], w)
        else:
            guided = base
        if everywhere(s, 0):
            return guided
        return self.pushed(inner, x, t, condition, guided, views[0], base.parts, s)

    def pushed(
        self,
        inner: Denoiser,
        x: Tensor,
        t: Time,
        condition: State | None,
        guided: Prediction,
        base: GaussianPrediction,
        parts: dict,
        s: Time,
    ) -> Prediction:
        """The guided prediction, led away from that of the degraded state."""
        run = inner.run
        blurred = smoothed(base.mean, self.axes(run), self.sigma)
        mask = self.mask(run, base.mean, parts)
        low = blurred if mask is None else torch.where(mask, blurred, base.mean)
        noisy = column(base.a, x) * low + column(base.s, x) * base.noise
        null = Branch(self.branches(run)[0].condition, inputs=lambda run, x, t: (noisy, t))
        worse = evaluate(inner, x, t, condition, [null])[0]
        # In eps, a / s times the difference of both noises is low - D(x_deg): finite also where s is 0.
        step = (base.mean if self.space == "x0" else low) - worse.mean
        mean = guided.mean + column(s, x) * step
        return dataclasses.replace(without_records(guided), mean=mean).with_parts(degraded=worse)

    def mask(self, run: Run, like: Tensor, parts: dict) -> Tensor | None:
        """Where the estimate is blurred, broadcasts against it; None is everywhere."""
        if self.threshold is None:
            return None
        if "recorded" not in parts:
            raise GuidanceError("SAG needs the recorded attention, and a plug inside it gave another prediction")
        name = self.recorded(run)
        shape = [like.shape[axis] for axis in self.axes(run)]
        attended, dims = parts["recorded"][name], parts["dims"][name]
        if len(dims) != len(shape) or math.prod(dims) != attended.shape[1]:
            raise GuidanceError(f"SAG: tokens on a grid {dims} at site {name} for states on a grid {tuple(shape)}")
        mask = upsampled((attended > self.threshold).to(like), dims, shape) > 0
        return mask if like.ndim == mask.ndim else mask[:, None]


__all__ = ["SAG"]
