"""NAG: a negative condition that acts inside attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.contrast.branches import Branch, evaluate
from guidekit.guidance.contrast.engine import everywhere
from guidekit.guidance.contrast.perturbed import refuse_inside
from guidekit.guidance.contrast.plans import Plan, kept_plan
from guidekit.guidance.contrast.schedules import Schedule, weight_at
from guidekit.networks.perturbations import Choice, NegativeExtrapolate


@dataclasses.dataclass(frozen=True)
class NAG(Guidance):
    """Normalised attention guidance: what tokens receive from the condition is led away from the negative one's.

    At every cross-attention Z = Z+ + phi (Z+ - Z-), cut to a norm of tau ||Z+|| a token, and alpha of it is blended in.
    One set of tokens goes on. The negative condition runs along as a companion row of the same call.

    Args:
        scale: phi (the authors' code counts it as phi + 1); 0 is the prior, bit for bit.
        negative: what `Prior.condition` takes; None is the null condition.
        most, blend, norm: tau, alpha, and the norm, 1 or 2.
        sites: cross-attention sites, see `guidekit.networks.choose`.
        schedule: when it acts, see `CFG`.

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
    schedule: Schedule | Sequence[float] | None = None
    contrasts = True
    needs = ("network with cross-attention to its condition, condition=",)

    def __post_init__(self) -> None:
        """Refuse settings outside their ranges."""
        self._operator()

    def _operator(self) -> NegativeExtrapolate:
        return NegativeExtrapolate(self.scale, self.most, self.blend, self.norm, self.sites)

    @property
    def timeless(self) -> bool:
        """Without a schedule."""
        return self.schedule is None

    def plan(self, run: Run) -> Plan:
        """What the branch does."""
        return kept_plan(run, self, lambda purpose: Plan((self._operator(),), purpose, True, self.negative))

    def check(self, run: Run) -> None:
        """The network must attend to its condition."""
        refuse_inside("NAG", run, run.position(self))
        self.plan(run).check("NAG", run)
        if run.prior.null_condition is None or run.condition is None:
            raise GuidanceError(f"NAG needs a conditional prior and condition=; this prior is {run.prior.name}")

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        gate = weight_at(2.0, self.schedule, t, inner.run)
        if not everywhere(gate, 1) and not everywhere(gate, 2):
            raise GuidanceError(
                "NAG acts on whole batches: its schedule must be an interval or steps, at one time a batch"
            )
        if self.scale == 0 or self.blend == 0 or everywhere(gate, 1):
            return inner(x, t, condition)
        return evaluate(inner, x, t, condition, [Branch(perturbation=self.plan(inner.run))])[0]


__all__ = ["NAG"]
