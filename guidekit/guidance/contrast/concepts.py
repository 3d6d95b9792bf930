"""Guidance towards the concepts of a condition that its own direction neglects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from guidekit.core.run import Run
from guidekit.core.state import column
from guidekit.guidance.contrast import rules
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, Branch, Given
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.rules import Function, Rule
from guidekit.guidance.contrast.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class ConceptDivergence(Contrast):
    """D_0 + w g + sum of w_i g_i over concepts whose direction g_i is further from the condition's g than the mean.

    A concept diverges where cos(g, g_i) lies more than `tolerance` below the mean of all concepts at that step; g_i is
    brought to the length of g. Aligned concepts add nothing. Acts on noise predictions, of tokens on centred logits.

    Args:
        weight: w.
        concepts: two or more conditions, each what `Prior.condition` takes: a part of condition= each.
        strength: w_i / w.
        tolerance: of the cosines.
        schedule, rescale: see `CFG`; where the weight is 1 nothing is added.

    Source: reconstructed from Kang et al. 2023, arXiv:2312.15964; threshold, weights and their relative form are ours.
    """

    weight: float | Callable[[Time], Time] = 2.0
    concepts: Sequence[Any] = ()
    strength: float = 0.5
    tolerance: float = 0.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("conditional prior and condition=",)

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null condition, condition=, and its concepts."""
        return (UNCONDITIONAL, CONDITIONAL, *(Branch(Given(value)) for value in self.concepts))

    def rule(self, run: Run) -> Rule:
        """See `rules.diverging`."""

        def act(views: Sequence[Tensor], w: Time) -> Tensor:
            base, positive, *others = views
            whole, w = positive - base, column(w, base)
            out = base + w * whole
            if not others:
                return out
            parts = [other - base for other in others]
            _, away = rules.diverging(whole, parts, self.tolerance)
            for part, rows in zip(parts, away.unbind(1), strict=True):
                length = rules.ratio(rules.norm(whole), rules.norm(part))
                out = out + self.strength * w * column(rows.to(base), base) * length * part
            return out

        return Function(act, "eps")
