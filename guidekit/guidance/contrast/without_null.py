"""Guidance of networks that were trained without a null condition: random conditions, noisy times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import GuidanceError
from guidekit.core.population import Time
from guidekit.core.run import Run
from guidekit.core.state import State, tree_batch
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


@dataclasses.dataclass(frozen=True)
class NoisyTime:
    """The same state at a time t + scale t^power n, n standard normal, kept within [0, 1].

    Args:
        scale, power: see above.
        purpose: of the random numbers.
    """

    scale: float
    power: float
    purpose: str

    def __call__(self, run: Run, x: State, t: Time) -> tuple[State, Tensor]:
        """(x, times (B,))."""
        size = tree_batch(x)
        n = run.draw(self.purpose).normal((size,))
        t = torch.as_tensor(t, dtype=n.dtype, device=n.device)
        return x, (t + self.scale * t**self.power * n).clamp(0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class TSG(Contrast):
    """Time-step guidance D' + w (D - D'), with D' what the network says when it is told a wrong time.

    The noise of the time has mean zero, so that the average change is of second order in its scale. Here it is added to
    the time t in [0, 1] that the network is told, in the source to the embedding of the time. Works without conditions.

    Args:
        weight: w; 1 is the prior.
        scale: of the noise of the time; 0 is the prior.
        power: the noise is scale t^power.
        schedule, rescale: see `CFG`.

    Source: Sadat et al. 2024, arXiv:2407.02687, section 5, for networks as a black box.
    """

    weight: float | Callable[[Time], Time] = 2.0
    scale: float = 0.05
    power: float = 1.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("prior that looks at the time",)
    needs_condition = False
    per_sample = True

    def branches(self, run: Run) -> Sequence[Branch]:
        """The wrong time, and the right one."""
        return (Branch(inputs=NoisyTime(self.scale, self.power, f"TSG {run.position(self)}")), CONDITIONAL)

    def check(self, run: Run) -> None:
        """The network must look at the time."""
        super().check(run)
        if run.prior.time_independent:
            raise GuidanceError(
                f"TSG tells the network a wrong time, and this prior ({run.prior.name}) ignores the time"
            )
