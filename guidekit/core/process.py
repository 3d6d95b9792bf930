"""What a noising process is: laws of noising, and the facts they come with."""

from __future__ import annotations

from typing import Any

from guidekit.core.kernel import Kernel
from guidekit.core.requirements import Fact
from guidekit.core.state import State
from guidekit.core.support import EVERYWHERE, Support


class Process:
    """Base of all processes; time runs from 0 (clean) to 1 (noise)."""

    provides: frozenset[Fact] = frozenset()
    """Facts about states and noising."""

    def noising(self, state: State, t: float, u: float, support: Support = EVERYWHERE) -> Kernel:
        """The law of the state at u given that at t <= u; state (B, *S)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement noising(state, t, u)")

    def marginal(self, clean: State, t: float, support: Support = EVERYWHERE) -> Kernel:
        """The law of the state at t given the clean one."""
        return self.noising(clean, 0.0, t, support)

    def grid(self, steps: int) -> list[float]:
        """`steps` + 1 times from 1 to 0, evenly spaced."""
        return [1 - i / steps for i in range(steps)] + [0.0]

    def sample_limit(self, draw: Any, shape: tuple[int, ...]) -> State:
        """States of shape (B, *S) at t = 1."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement sample_limit(draw, shape)")

    def restart(self, state: State, t: float) -> State:
        """States from the limit law turned into states to start from at t < 1."""
        return state
