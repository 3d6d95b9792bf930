"""Guidance away from a perturbed copy of the network: PAG, SEG, TPG, STG and S2-Guidance.

D = D_0 + w (D_c - D_0) + s (D_c - D_hat): D_hat is the network's answer to the same state and condition with its sites
perturbed. All branches are rows of one call.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from guidekit.core.guidance import Denoiser, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State, column
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, Branch, evaluate
from guidekit.guidance.contrast.engine import Contrast, bare, everywhere, framed
from guidekit.guidance.contrast.linear import contrast
from guidekit.guidance.contrast.plans import Plan, kept_plan
from guidekit.guidance.contrast.rules import rescaled
from guidekit.guidance.contrast.schedules import Schedule, weight_at
from guidekit.guidance.contrast.spaces import combine
from guidekit.networks.perturbations import (
    BlurQuery,
    Choice,
    DropAttention,
    DropBlock,
    DropFeed,
    IdentityAttention,
    Operator,
    ShuffleTokens,
)


def away(base: Tensor, positive: Tensor, hat: Tensor, weight: Time, scale: Time) -> Tensor:
    """D_0 + w (D_c - D_0) + s (D_c - D_hat), all (B, *S); w and s numbers or (B,)."""
    w, s = column(weight, base), column(scale, base)
    return base + w * (positive - base) + s * (positive - hat)


class Perturbed(Contrast):
    """D = D_0 + w (D_c - D_0) + s (D_c - D_hat) with the network's answer under operators at its sites as D_hat.

    s = 0 is CFG of weight w, bit for bit and at its cost, and w = 1 leaves the first term out: then no condition is
    needed. On tokens log-probabilities are combined and normalised again. Subclasses say the operators.
    """

    scale: float | Callable[[Time], Time] = 3.0
    weight: float | Callable[[Time], Time] = 1.0

    def operators(self) -> Sequence[Operator]:
        """What is done to the network."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement operators()")

    @property
    def needs_condition(self) -> bool:
        """With classifier-free guidance."""
        return callable(self.weight) or self.weight != 1

    @property
    def per_sample(self) -> bool:
        """Whether numbers are drawn for every sample."""
        return any(operator.random for operator in self.operators())

    @property
    def timeless(self) -> bool:
        """True for constant settings and operators without random numbers."""
        return not callable(self.scale) and Contrast.timeless.fget(self)

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null condition, the condition, and the condition under the operators."""
        plan = kept_plan(run, self, partial(Plan, tuple(self.operators())))
        return (UNCONDITIONAL, CONDITIONAL, Branch(perturbation=plan))

    def check(self, run: Run) -> None:
        """The network must have the sites, and nothing inside may contrast branches of its own."""
        name = type(self).__name__
        outside = [type(plug).__name__ for plug in run.plugs[run.position(self) + 1 :] if plug.contrasts]
        if outside and self.per_sample:
            raise GuidanceError(
                f"{name} draws numbers for every sample, and {outside[0]} would ask it about several branches of one: "
                f"give {name} a weight in place of {outside[0]}"
            )
        super().check(run)
        refuse_inside(name, run, run.position(self))
        self.branches(run)[2].perturbation.check(name, run)

    def scale_at(self, t: Time, run: Run) -> Time:
        """s at t, a number or (B,): the schedule acts on 1 + s, which is the weight of D_c against D_hat."""
        at = t if run.schedule_time is None else run.schedule_time
        s = self.scale(at) if callable(self.scale) else self.scale
        return s if self.schedule is None else weight_at(1 + s, self.schedule, t, run) - 1

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        run = inner.run
        w, s = weight_at(self.weight, None, t, run), self.scale_at(t, run)
        steady, plain = everywhere(s, 0), everywhere(w, 1)
        base, positive, hat = self.branches(run)
        if steady and (plain or everywhere(w, 0)):
            return evaluate(inner, x, t, condition, [positive if plain else base])[0]
        asked = [*([] if plain else [base]), positive, *([] if steady else [hat])]
        views = evaluate(inner, x, t, condition, asked)
        if plain:
            views = framed(run, views[::-1], t, None)
            return self.finished(run, contrast(views[0], views[1], 1 + s), views[1])
        views = framed(run, views, t, None)
        if steady:
            return self.finished(run, contrast(views[0], views[1], w), views[1])
        guided = combine("x0", run.prior.process, views, lambda v: away(*v, w, s))
        return self.finished(run, guided.with_parts(hat=bare(views[2])), views[1])

    def finished(self, run: Run, guided: Prediction, positive: Prediction) -> Prediction:
        """The prediction with the wanted share of its excess spread taken back."""
        if not self.rescale:
            return guided
        back = combine("v", run.prior.process, [guided, positive], lambda v: rescaled(v[0], v[1], self.rescale))
        return dataclasses.replace(back, parts=guided.parts)


def refuse_inside(name: str, run: Run, position: int) -> None:
    """Refuse plugs inside that ask about several branches or in place of the network: rows would lose their meaning."""
    for plug in run.plugs[:position]:
        inside = type(plug).__name__
        if plug.contrasts or getattr(plug, "replaces_network", False):
            raise GuidanceError(
                f"{name} perturbs the network and cannot wrap {inside}: for classifier-free guidance in the same call "
                f"give {name} a weight, otherwise write chain({name}, {inside})"
            )


@dataclasses.dataclass(frozen=True)
class PAG(Perturbed):
    """Perturbed-attention guidance: away from the network whose chosen self-attention maps are the identity.

    Args:
        scale: s, dimensionless; a number, or a function of t (number or (B,)).
        sites: self-attention sites, see `guidekit.networks.choose`.
        weight: w of classifier-free guidance in the same call; 1 is without it.
        schedule: when the scale holds, see `CFG`; two numbers are an interval of noise levels.
        rescale: see `CFG`.

    Source: Ahn et al. 2024, arXiv:2403.17377, eq. 11 and 16.
    """

    scale: float | Callable[[Time], Time] = 3.0
    sites: Choice = "middle"
    weight: float | Callable[[Time], Time] = 1.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("network with self-attention",)

    def operators(self) -> Sequence[Operator]:
        """See `IdentityAttention`."""
        return (IdentityAttention(self.sites),)


@dataclasses.dataclass(frozen=True)
class SEG(Perturbed):
    """Smoothed energy guidance: away from the network whose queries are smoothed along the grid of tokens.

    Args:
        scale: s; the strength is meant to be set by sigma.
        sigma: standard deviation in tokens; 0 is no perturbation, and null or infinity gives all tokens the mean query.
        sites, weight, schedule, rescale: see `PAG`.

    Source: Hong 2024, arXiv:2408.00760, algorithm 1.
    """

    scale: float | Callable[[Time], Time] = 3.0
    sigma: float | None = None
    sites: Choice = "middle"
    weight: float | Callable[[Time], Time] = 1.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("network with self-attention",)

    def __post_init__(self) -> None:
        """Refuse settings outside their ranges."""
        self.operators()

    def operators(self) -> Sequence[Operator]:
        """See `BlurQuery`."""
        return (BlurQuery(math.inf if self.sigma is None else self.sigma, self.sites),)


@dataclasses.dataclass(frozen=True)
class TPG(Perturbed):
    """Token perturbation guidance: away from the network whose tokens are shuffled before chosen blocks.

    Every sample has an order of its own at every site and step.

    Args:
        scale: s, see `PAG`.
        sites: units with tokens as input; "early" is the way down of a U-Net, the first half of a transformer.
        weight, schedule, rescale: see `PAG`.

    Source: Rajabi et al. 2025, arXiv:2506.10036, section 4.
    """

    scale: float | Callable[[Time], Time] = 3.0
    sites: Choice = "early"
    weight: float | Callable[[Time], Time] = 1.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("network over tokens",)

    def operators(self) -> Sequence[Operator]:
        """See `ShuffleTokens`."""
        return (ShuffleTokens(self.sites),)


SKIPS = {"block": DropBlock, "attention": DropAttention, "feed": DropFeed, "map": IdentityAttention}


@dataclasses.dataclass(frozen=True)
class STG(Perturbed):
    """Skip guidance: away from the network without chosen blocks (STG-R, SLG), or without what is inside them.

    Args:
        scale: s, see `PAG`.
        sites: blocks, see `guidekit.networks.choose`; which ones help depends on the network, the first and the last
            usually do not.
        skip: "block", "attention" (the branch adds nothing), "feed", or "map" (the identity as attention map, STG-A).
        weight, schedule, rescale: see `PAG`.

    Raises:
        ValueError: no such part to skip.

    Source: Hyung et al. 2024, arXiv:2411.18664, eq. 7-9; its rescaling is per sample here.
    """

    scale: float | Callable[[Time], Time] = 1.0
    sites: Choice = "middle"
    skip: str = "block"
    weight: float | Callable[[Time], Time] = 1.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("network with residual blocks",)

    def __post_init__(self) -> None:
        """Refuse what is no part of a block."""
        if self.skip not in SKIPS:
            raise ValueError(f"skip={self.skip!r}; accepted: {', '.join(SKIPS)}")

    def operators(self) -> Sequence[Operator]:
        """See `guidekit.networks.perturbations`."""
        return (SKIPS[self.skip](sites=self.sites),)


@dataclasses.dataclass(frozen=True)
class S2Guidance(Perturbed):
    """Stochastic self-guidance: away from the network without blocks that are drawn anew for every sample and step.

    Args:
        scale: omega.
        rate: share of the blocks left out, rounded to whole ones and at least one above 0; 0 is CFG.
        sites: blocks to draw from; "inner" spares the first and the last.
        weight, schedule, rescale: see `PAG`.

    Raises:
        ValueError: a rate outside [0, 1].

    Source: Chen et al. 2025, arXiv:2508.12880, eq. 8, in the form whose coefficients sum to one.
    """

    scale: float | Callable[[Time], Time] = 0.25
    rate: float = 0.1
    sites: Choice = "inner"
    weight: float | Callable[[Time], Time] = 1.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("network with residual blocks",)

    def __post_init__(self) -> None:
        """Refuse settings outside their ranges."""
        self.operators()

    def operators(self) -> Sequence[Operator]:
        """See `DropBlock`."""
        return (DropBlock(self.rate, self.sites),)

    def scale_at(self, t: Time, run: Run) -> Time:
        """0 where nothing is left out."""
        return 0.0 if self.rate == 0 else super().scale_at(t, run)


__all__ = ["PAG", "SEG", "STG", "TPG", "Perturbed", "S2Guidance", "away", "refuse_inside"]
