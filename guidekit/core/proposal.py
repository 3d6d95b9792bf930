"""How the next state is proposed: the kernel, and what makes up for a kernel that guidance has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from guidekit.core.kernel import Kernel, Number
from guidekit.core.state import State, altered


@dataclass(frozen=True)
class Proposal:
    """The kernel of a step, what it would be without guidance, and what the sampler will remember.

    The weight that makes up for a changed kernel is worked out here, once for all kernels.

    Args:
        kernel: from which the next state is drawn.
        base: the sampler's own kernel; None where nobody weighs particles.
        memory: of the sampler, after the step.
        log_weight: (B,) nats, a weight of the step that does not depend on where it leads.
    """

    kernel: Kernel
    base: Kernel | None = None
    memory: Any = None
    log_weight: Tensor | None = None

    def shift(self, delta: State | None, scale: Number = 1.0) -> Proposal:
        """See `Kernel.shift`; reversible where particles are weighed."""
        return altered(self, kernel=self.kernel.shift(delta, scale, reversible=self.base is not None))

    def tilt(self, direction: State | None) -> Proposal:
        """See `Kernel.tilt`."""
        return altered(self, kernel=self.kernel.tilt(direction))

    def changed(self, change: Callable[[Any], Kernel]) -> Proposal:
        """The proposal with its kernel changed by a function, measured against the same base."""
        return altered(self, kernel=change(self.kernel))

    def replaced(self, kernel: Kernel) -> Proposal:
        """The proposal with another kernel that is its own base: the law that is wanted, not a way to reach it."""
        return altered(self, kernel=kernel, base=None if self.base is None else kernel)

    def power(self, exponent: float) -> Proposal:
        """Kernel, base and weight of the step to a power: how a path measure is annealed."""
        base = None if self.base is None else self.base.power(exponent)
        kernel = base if base is not None and self.kernel is self.base else self.kernel.power(exponent)
        weight = None if self.log_weight is None else exponent * self.log_weight
        return replace(self, kernel=kernel, base=base, log_weight=weight)

    def weigh(self, log_weight: Tensor) -> Proposal:
        """The proposal whose draws all get a log-weight (B,) more."""
        return altered(self, log_weight=log_weight if self.log_weight is None else self.log_weight + log_weight)

    def log_ratio(self, state: State) -> Tensor | float:
        """log base(state) - log kernel(state), plus the weight of the step; (B,) nats, or 0 where they are the same."""
        if self.base is None or self.kernel is self.base:
            return 0.0 if self.log_weight is None else self.log_weight
        ratio = self.base.log_prob(state) - self.kernel.log_prob(state)
        return ratio if self.log_weight is None else ratio + self.log_weight
