"""What a sampler is: a time grid, and the kernel of a step when no guidance touches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guidekit.core.kernel import Kernel
from guidekit.core.owner import Memory, Owner
from guidekit.core.prior import Prior
from guidekit.core.random import Draw
from guidekit.core.requirements import Fact
from guidekit.core.state import State
from guidekit.core.step import Moment, Step
from guidekit.preset import Named


@dataclass(frozen=True)
class Here:
    """Where a sampler is when it takes a step; of the whole state, or of one part of a composite.

    Args:
        process: of what is sampled.
        prediction: at the start of the step.
        step: to be taken.
        time: of the rows at the start of the step, a number or (B,).
        draw: for choices that come before the kernel, such as which token is next.
        ask: (x, t) -> the guided prediction elsewhere in the step, under the schedules of its start; a network call.
        steps: the plan, for samplers that look ahead.
    """

    process: Any
    prediction: Any
    step: Step
    time: float | Tensor
    draw: Draw
    ask: Callable[[State, float], Any]
    steps: tuple[Step, ...] = ()

    @property
    def left(self) -> int:
        """Number of steps of the grid that are still to take, this one included."""
        return self.steps[-1].end.index - self.step.start.index


class Sampler(Named, Owner[Memory]):
    """How an unguided step is taken, as a function of where one is.

    Subclasses are frozen dataclasses that compare by identity (`eq=False`) and implement `step`.
    """

    requires: frozenset[Fact] = frozenset()
    """What the prior must provide."""
    provides: frozenset[Fact] = frozenset()
    """What guidance may ask of its kernels; `Fact.NOISE` where every step draws noise."""

    takes_parts: bool = False
    """Whether its steps are those of a state with several parts, too."""

    def check(self, prior: Prior) -> None:
        """Raise `GuidanceError` for what `requires` cannot say."""

    def suited(self, prior: Prior) -> Sampler[Memory]:
        """The sampler with what it leaves to the prior."""
        return self

    def draws(self, parts: frozenset[str] | None) -> bool:
        """Whether it draws noise in each of the named parts of a composite; None is all there is."""
        return Fact.NOISE in self.provides

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """Times from noise to clean; `steps` transitions where the sampler is free to choose."""
        return prior.process.grid(steps)

    def time(self, moment: Moment, memory: Memory | None) -> float | Tensor:
        """The time of the rows, of all or (B,), where a sampler has other times than the grid."""
        return moment.t

    def step(self, here: Here, memory: Memory | None) -> tuple[Kernel, Memory | None]:
        """The kernel of a step and the memory after it; None is no memory (yet)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement step(here, memory)")
