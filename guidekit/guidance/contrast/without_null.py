"""Guidance of networks that were trained without a null condition: random conditions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from guidekit.core.guidance import GuidanceError
from guidekit.core.run import Run
from guidekit.guidance.contrast.branches import CONDITIONAL, Branch, Drawn, class_weights
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class ICG(Contrast):
    """Independent condition guidance: D_r + w (D_c - D_r), with a condition r drawn anew for every sample and step.

    Averaged over r it is w D_c + (1 - w) mean_r D_r, which is not the unconditional prediction, except at high noise.
    With few conditions the draws are noisy, and one in as many is c itself.

    Args:
        weight: w.
        conditions: to draw from, each what `Prior.condition` takes; None is all that the prior knows.
        weights: how likely each is, as in the training data; None is equal.
        schedule, rescale: see `CFG`.

    Source: Sadat et al. 2024, arXiv:2407.02687, section 4.
    """

    weight: float | Callable[[Time], Time] = 2.0
    conditions: Sequence[Any] | None = None
    weights: Sequence[float] | None = None
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("conditional prior and condition=",)
    per_sample = True

    def branches(self, run: Run) -> Sequence[Branch]:
        """A random condition, and the condition."""
        return (Branch(Drawn(self.conditions, self.weights, f"ICG {run.position(self)}")), CONDITIONAL)

    def check(self, run: Run) -> None:
        """There must be something to draw from."""
        super().check(run)
        if self.conditions is None and not getattr(run.prior, "labels", ()) and class_weights(run.prior) is None:
            raise GuidanceError(f"ICG does not know the conditions of this prior ({run.prior.name}): give conditions=")
