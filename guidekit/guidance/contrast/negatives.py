"""Several conditions at once: AND, NOT, and negatives made orthogonal."""

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
class Compose(Contrast):
    """AND and NOT of conditions: D_0 + w (D_c - D_0) + sum_i w_i (D_i - D_0) - sum_j w_j (D_j - D_0).

    c is condition=, i runs over `also`, j over `avoid`. A NOT differs from `CFG(negative=...)` by D_n - D_0: here the
    base is the null condition, there the negative one takes its place. Of tokens the log-probabilities are added.

    Args:
        weight: w of condition=, number or function of t.
        also, avoid: further conditions, each what `Prior.condition` takes.
        also_weights, avoid_weights: one weight each; None is `weight`, and where that is scheduled follows it.
        schedule, rescale: see `CFG`; where the weight is 1, the other branches still act.

    Raises:
        ValueError: as many weights as conditions are needed.

    Source: Liu et al. 2022, arXiv:2206.01714, eq. 11-13.
    """

    weight: float | Callable[[Time], Time] = 2.0
    also: Sequence[Any] = ()
    avoid: Sequence[Any] = ()
    also_weights: Sequence[float] | None = None
    avoid_weights: Sequence[float] | None = None
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("conditional prior and condition=",)

    def __post_init__(self) -> None:
        """Refuse weights that fit no conditions."""
        for name in ("also", "avoid"):
            given, weights = getattr(self, name), getattr(self, f"{name}_weights")
            if weights is not None and len(weights) != len(given):
                raise ValueError(f"{name}_weights has {len(weights)} numbers for {len(given)} conditions in {name}")

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null condition, condition=, then the others."""
        others = (Branch(Given(value)) for value in (*self.also, *self.avoid))
        return (UNCONDITIONAL, CONDITIONAL, *others)

    def rule(self, run: Run) -> Rule:
        """The signed sum."""

        def total(views: Sequence[Tensor], w: Time) -> Tensor:
            base, positive, *others = views
            out = base + column(w, base) * (positive - base)
            signs = [1.0] * len(self.also) + [-1.0] * len(self.avoid)
            weights = [*(self.also_weights or [w] * len(self.also)), *(self.avoid_weights or [w] * len(self.avoid))]
            for view, sign, weight in zip(others, signs, weights, strict=True):
                out = out + sign * column(weight, base) * (view - base)
            return out

        return Function(total, neutral=not self.also and not self.avoid)


@dataclasses.dataclass(frozen=True)
class PerpNeg(Contrast):
    """Perp-Neg: D_0 + w (p - b sum_j n_j'), n_j' the part of a negative direction that is orthogonal to p = D_c - D_0.

    A negative parallel to the condition changes nothing, an orthogonal one acts as the NOT of `Compose`. The inner
    products are those of every sample.

    Args:
        weight: w.
        negatives: conditions to move away from, each what `Prior.condition` takes.
        strength: b.
        schedule, rescale: see `CFG`; where the weight is 1, the negatives still act.

    Source: Armandpour et al. 2023, arXiv:2304.04968, eq. 8.
    """

    weight: float | Callable[[Time], Time] = 2.0
    negatives: Sequence[Any] = ()
    strength: float = 1.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("conditional prior and condition=",)

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null condition, condition=, then the negatives."""
        return (UNCONDITIONAL, CONDITIONAL, *(Branch(Given(value)) for value in self.negatives))

    def rule(self, run: Run) -> Rule:
        """See `rules.perpendicular`."""
        act = lambda views, w: rules.perpendicular(views[0], views[1], views[2:], w, self.strength)  # noqa: E731
        return Function(act, neutral=not self.negatives)
