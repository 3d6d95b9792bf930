"""Rules that re-weigh the direction of classifier-free guidance: TCFG, CFG-Zero*, MAMBO-G, renormalization."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, Layer, chain
from guidekit.core.prediction import Branches, Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question
from guidekit.core.requirements import Fact
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, column
from guidekit.core.support import Support
from guidekit.guidance.contrast import Contrast, Number, Schedules, Weight, check_range, contrast, formal, rules
from guidekit.guidance.contrast import base as away_from
from guidekit.guidance.contrast.rule import NEVER
from guidekit.registry import register

STRAIGHT = ("GeometricVE", "KarrasVE", "LinearFlow")
"""Schedules whose probability flow has no velocity where the clean estimate is the state."""


@register("guidance", "tcfg")
def TCFG(  # noqa: N802 - a preset
    weight: Weight = 2.0, negative: Any = None, schedule: Schedules = None, rescale: float = 0.0
) -> Contrast:
    """Tangential damping: CFG from the base projected onto the leading singular direction of both predictions.

    Acts on noise predictions; of tokens on centered logits. Without effect where a state is one number.

    Args:
        weight, negative, schedule, rescale: see `CFG`.

    Source: Kwon et al. 2025, arXiv:2503.18137, algorithm 1.
    """

    def formula(support: Support, w: Number, base: Tensor, own: Tensor) -> Tensor:
        return rules.linear(rules.damped(support, base, own), own, w)

    return contrast("TCFG", away_from(negative), formal(formula, "noise"), weight, schedule, rescale)


@register("guidance", "mambo")
def MagnitudeAware(  # noqa: N802
    weight: Weight = 2.0, negative: Any = None, schedule: Schedules = None, rescale: float = 0.0, alpha: float = 8.0
) -> Contrast:
    """MAMBO-G: CFG with the weight 1 + (w - 1) exp(-alpha ||d|| / ||D_0||) of every sample, in velocity space.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        alpha: how soon a large direction is damped; 0 is CFG.

    Source: Zhu et al. 2025, arXiv:2508.03442; the formula as in a released implementation, in the network's own output
    space there.
    """
    check_range("MagnitudeAware", alpha=alpha)

    def formula(support: Support, w: Number, base: Tensor, own: Tensor) -> Tensor:
        w = w.flatten() if isinstance(w, Tensor) else w
        return rules.linear(base, own, rules.magnitude_weight(support, base, own, w, alpha))

    return contrast("MagnitudeAware", away_from(negative), formal(formula, "flow"), weight, schedule, rescale)


@register("guidance", "cfg_renorm")
def CFGRenorm(  # noqa: N802
    weight: Weight = 2.0, negative: Any = None, schedule: Schedules = None, rescale: float = 0.0, most: float = 1.0
) -> Contrast:
    """CFG whose velocity is no longer than `most` times the conditional one.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        most: greatest ratio of lengths.

    Source: the rule of Lumina-Image 2.0 (Qin et al. 2025, arXiv:2503.21758), as in released code; for most >= 1.
    """
    check_range("CFGRenorm", above=True, most=most)

    def formula(support: Support, w: Number, base: Tensor, own: Tensor) -> Tensor:
        return rules.renormalized(support, rules.linear(base, own, w), own, most)

    rule = formal(formula, "flow", 1.0 if most >= 1 else NEVER)
    return contrast("CFGRenorm", away_from(negative), rule, weight, schedule, rescale)


@register("guidance", "cfg_zero")
def CFGZero(  # noqa: N802
    weight: Weight = 2.0, negative: Any = None, schedule: Schedules = None, rescale: float = 0.0, zero_steps: int = 0
) -> Guidance:
    """CFG-Zero*: CFG from the base scaled to be nearest to the conditional velocity, after steps that do not move.

    The first steps have velocity zero, which leaves the state where the flow variable is s (rectified flow,
    variance-exploding); on other processes, and on tokens, choose zero_steps=0.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        zero_steps: first steps without movement.

    Source: Fan et al. 2025, arXiv:2503.18886, eq. 9 and algorithm 1.
    """
    check_range("CFGZero", zero_steps=zero_steps)

    def formula(support: Support, w: Number, base: Tensor, own: Tensor) -> Tensor:
        return rules.linear(column(rules.optimal_scale(support, base, own), base) * base, own, w)

    guided = contrast("CFGZero", away_from(negative), formal(formula, "flow"), weight, schedule, rescale)
    return chain(guided, Still(zero_steps)) if zero_steps else guided


@dataclasses.dataclass(frozen=True, eq=False)
class Still(Guidance[None]):
    """In the first steps of the grid the clean estimate is the state itself, and nothing is asked: no velocity.

    Args:
        steps: so many.
    """

    steps: int
    layer = Layer.ESTIMATE
    requires = frozenset({Fact.FLOW})

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The state must stay where its velocity is zero."""
        if type(getattr(prior.process, "schedule", None)).__name__ not in STRAIGHT:
            raise GuidanceError(
                f"velocity zero leaves no state of this prior ({prior.name}) where it is: give zero_steps=0"
            )

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        if question.moment.index >= self.steps:
            return inner(question)
        here = question.process.prediction(question.x, question.x, question.t)
        return altered(here, branches=Branches(here, here, 1.0))
