"""UniPC: predictor and corrector on polynomials in log(a / s)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.kernel import GaussianKernel
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here, TimedSampler
from guidekit.samplers.dpm_solver import exponential_step
from guidekit.samplers.history import Earlier, Past, before, log_level, quadrature


def moment(k: int, h: float) -> float:
    """Integral over v in [0, 1] of exp(-h (1 - v)) v^k, for h >= 0."""
    if h < 1:  # the recursion loses digits
        term, total = 1 / (k + 1), 0.0
        for m in range(24):
            total += term
            term *= -h / (k + m + 2)
        return total
    value = -math.expm1(-h) / h
    for i in range(1, k + 1):
        value = (1 - i * value) / h
    return value


def exponential_weights(nodes: Sequence[float], h: float) -> list[float]:
    """Weights w_j with sum_j w_j D(l_j) = int_0^h exp(l - h) D(l) dl for polynomials D of degree below their number.

    Args:
        nodes: l_j, where D = E[x_0 | x] is known, as log(a / s) less that at the start of the step; minus infinity is
            left out (weight 0), as pure noise tells nothing.
        h: length of the step in log(a / s).
    """
    known = [node / h for node in nodes if node > -math.inf]
    weights = iter(quadrature(known, [h * moment(k, h) for k in range(len(known))]))
    return [next(weights) if node > -math.inf else 0.0 for node in nodes]


def unipc_weights(nodes: Sequence[float], h: float, variant: str) -> list[float]:
    """`exponential_weights`, but for two nodes the slope has half of B(h): h for "bh1", 1 - e^-h for "bh2".

    Source: Zhao et al. 2023, arXiv:2302.04867, B_1 and B_2 with a_1 = 1/2.
    """
    if len(nodes) != 2 or -math.inf in nodes:
        return exponential_weights(nodes, h)
    gain = -math.expm1(-h)
    slope = 0.5 * (h if variant == "bh1" else gain) / ((nodes[1] - nodes[0]) / h)
    return [gain - slope, slope]


@dataclasses.dataclass(frozen=True)
class Stride:
    """The step before, for the corrector: state (B, *S) it started from, where it led, when, and its order."""

    x: Tensor
    led_to: Tensor
    time: float
    target: float
    order: int


@dataclasses.dataclass(frozen=True)
class Track:
    """What `UniPC` remembers: earlier clean estimates, and the step before."""

    past: Past
    stride: Stride


@register("sampler", "unipc")
@dataclasses.dataclass(frozen=True, eq=False)
class UniPC(TimedSampler[Track]):
    """Predictor and corrector of one family; one network call a step, as the answer at the predicted state serves both.

    The predictor carries x_0 on as a polynomial in log(a / s) through the last `order` answers; when the next answer is
    there, the corrector repeats the step before with it. What a guidance added to the predicted state is kept. Order
    `order` without and one more with the corrector. The first and the last steps are of lower order, which in the limit
    bounds order=3 to 3 and order=4 to 3.

    Args:
        order: 1 to 4.
        corrector: False leaves the corrector out.
        variant: "bh1" or "bh2", B(h) of the two-point formulas.
        times: see `TimedSampler`.

    Raises:
        ValueError: an order or a variant that does not exist.

    Source: Zhao et al. 2023, arXiv:2302.04867, UniP and UniC for data prediction.
    """

    order: int = 2
    corrector: bool = True
    variant: str = "bh2"
    requires = frozenset({Fact.FLOW})

    def __post_init__(self) -> None:
        """Check order, variant and grid."""
        super().__post_init__()
        if self.order not in (1, 2, 3, 4) or self.variant not in ("bh1", "bh2"):
            raise ValueError(f"order={self.order}, variant={self.variant!r}; accepted: 1, 2, 3 or 4, bh1 or bh2")

    def step(self, here: Here, memory: Track | None) -> tuple[GaussianKernel, Track]:
        """See `Sampler.step`."""
        process, prediction, t, u = here.process, here.prediction, here.step.t, here.step.u
        x, now = prediction.x, Earlier(t, prediction.mean)
        past, stride = ((), None) if memory is None else (before(memory.past, t), memory.stride)
        if self.corrector and stride and stride.target == t and past and past[0].t == stride.time:
            corrected = multistep(process, stride.x, (*past[: stride.order], now), stride.time, t, self.variant)
            x = x + (corrected - stride.led_to)
        order = min(self.order, len(past) + 1, here.left)
        mean = multistep(process, x, (now, *past[: order - 1]), t, u, self.variant)
        track = Track((now, *past)[: self.order], Stride(x, mean, t, u, order))
        return GaussianKernel(mean, 0.0, prediction.support), track


def multistep(process: Any, x: Tensor, known: Past, t: float, u: float, variant: str) -> Tensor:
    """r / s x + b sum_j w_j D_j from t to u, with D_j = E[x_0 | x] known at some times."""
    (a, s), (b, r) = process.coefficients(t), process.coefficients(u)
    level = log_level(a, s)
    h = log_level(b, r) - level
    if len(known) == 1 or math.isinf(h):
        # Of first order: to a clean state, or from pure noise, where a corrector has only the new answer to go by.
        x0 = known[-1 if math.isinf(level) else 0].value
        return exponential_step(x, x0, (a, s), (b, r))[0]
    nodes = [log_level(*process.coefficients(answer.t)) - level for answer in known]
    weights = unipc_weights(nodes, h, variant)
    new = x * (r / s)
    for weight, answer in zip(weights, known, strict=True):
        new = torch.add(new, answer.value, alpha=b * weight)
    return new


__all__ = ["UniPC", "exponential_weights", "moment", "multistep", "unipc_weights"]
