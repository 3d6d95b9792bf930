"""NAG: a negative condition that acts inside attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question
from guidekit.core.sampler import Sampler
from guidekit.core.state import batch, leaves
from guidekit.guidance.attention.plans import Plan, marked, network_alone
from guidekit.guidance.contrast.branches import CONDITIONS, known_rows
from guidekit.guidance.contrast.schedules import Scheduled, Schedules, scheduled
from guidekit.guidance.contrast.settings import check_finite
from guidekit.interventions.operators import Choice, NegativeExtrapolate
from guidekit.registry import register


@register("guidance", "nag")
@dataclasses.dataclass(frozen=True, eq=False)
class NAG(Guidance[None]):
    """Normalized attention guidance: what tokens receive from the condition is led away from the negative one's.

    At every cross-attention Z = Z+ + phi (Z+ - Z-), cut to a norm of tau ||Z+|| a token, and alpha of it is blended in.
    One set of tokens goes on. The negative condition runs along as a companion row of the same call.

    Args:
        scale: phi (the authors' code counts it as phi + 1); 0 is the prior, bit for bit.
        negative: what `Prior.condition` takes; None is the null condition.
        most, blend, norm: tau, alpha, and the norm, 1 or 2.
        sites: cross-attention sites, see `guidekit.interventions.choose`.
        schedule: when it acts, see `CFG`: an interval or steps.

    Raises:
        ValueError: settings outside their ranges.

    Source: Chen et al. 2025, arXiv:2505.21179, eq. 7-10.
    """

    scale: float = 4.0
    negative: Any = None
    most: float = 2.5
    blend: float = 0.25
    norm: int = 1
    sites: Choice = "all"
    schedule: Schedules = None
    layer = Layer.CONTRAST
    requires = CONDITIONS | {Fact.NETWORK}

    def __post_init__(self) -> None:
        """Check the settings."""
        check_finite("NAG", scale=self.scale)
        scheduled("NAG", 1.0, self.schedule)
        self.operator()

    def operator(self) -> NegativeExtrapolate:
        """What acts at the sites."""
        return NegativeExtrapolate(self.scale, self.most, self.blend, self.norm, self.sites)

    @cached_property
    def extrapolation(self) -> Plan:
        """What is done to the network."""
        return Plan((self.operator(),), companion=True, negative=self.negative)

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        """Without a schedule."""
        return self.schedule is None

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The network must attend to its condition, and the prior know the negative one."""
        network_alone(self, members)
        self.extrapolation.check("NAG", prior)
        if self.negative is not None:
            known_rows("NAG", prior, [self.negative])

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        if self.scale == 0 or self.blend == 0:
            return inner(question)
        gate = scheduled("NAG", 2.0, self.schedule)
        level = gate(question) if isinstance(gate, Scheduled) else gate
        on = torch.as_tensor(level, device=leaves(question.x)[0].device).expand(batch(question.x)) - 1
        if not bool(((on == 0) | (on == 1)).all()):
            raise GuidanceError("NAG is on or off: its schedule must be an interval or steps")
        return inner(marked(question, self.extrapolation, self, on.long()) if bool(on.any()) else question)


__all__ = ["NAG"]
