"""What multistep solvers remember: earlier answers, which move with their particle.

Where a guidance goes back in time (recurrence), answers from times that have not come yet are not used; one more than
needed is kept for that.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Earlier:
    """What was known (B, *S) at time t: a clean estimate, a velocity, a state."""

    t: float
    value: Tensor


Past = tuple[Earlier, ...]
"""Earlier answers, the newest first."""


def before(past: Past | None, t: float) -> Past:
    """The answers given at noisier times than t."""
    return tuple(answer for answer in past or () if answer.t > t)


def log_level(process: Any, t: float) -> float:
    """log(a / s) at t, half the log signal-to-noise ratio: the lambda of the DPM-Solver papers."""
    a, s = process.coefficients(t)
    return math.inf if s == 0 else (-math.inf if a == 0 else math.log(a / s))


__all__ = ["Earlier", "Past", "before", "log_level"]
