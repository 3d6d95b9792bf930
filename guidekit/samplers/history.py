"""What multistep solvers remember: earlier answers, which move with their particle.

Where a guidance goes back in time (recurrence), answers from times that have not come yet are not used; one more than
needed is kept for that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

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


def log_level(a: float, s: float) -> float:
    """log(a / s), half the log signal-to-noise ratio: the lambda of the DPM-Solver papers."""
    return math.inf if s == 0 else (-math.inf if a == 0 else math.log(a / s))


def quadrature(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Weights w_j with sum_j w_j nodes_j^k = moments_k for k = 0, 1, ...: exact for polynomials through the nodes.

    Source: Bjorck & Pereyra 1970, Math. Comp. 24, the primal Vandermonde system.
    """
    weights, last = list(moments), len(nodes) - 1
    for k in range(last):
        for i in range(last, k, -1):
            weights[i] -= nodes[k] * weights[i - 1]
    for k in range(last - 1, -1, -1):
        for i in range(k + 1, last + 1):
            weights[i] /= nodes[i] - nodes[i - k - 1]
        for i in range(k, last):
            weights[i] -= weights[i + 1]
    return weights


__all__ = ["Earlier", "Past", "before", "log_level", "quadrature"]
