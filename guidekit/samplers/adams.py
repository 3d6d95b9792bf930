"""Adams-Bashforth: the velocity of the probability flow is carried on as a polynomial."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from guidekit.core.kernel import GaussianKernel
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here, TimedSampler
from guidekit.samplers.history import Earlier, Past, before, quadrature
from guidekit.samplers.ode import euler_step, runge_kutta_step


def adams_weights(nodes: Sequence[float], step: float) -> list[float]:
    """Weights w_j with sum_j w_j v(tau_j) = int_0^step v dtau for polynomials v of degree below their number.

    Args:
        nodes: tau_j, where v is known, less that at the start of the step.
        step: its length, of either sign.
    """
    moments = [step / (k + 1) for k in range(len(nodes))]
    return quadrature([node / step for node in nodes], moments)


@register("sampler", "adams_bashforth")
@dataclasses.dataclass(frozen=True, eq=False)
class AdamsBashforth(TimedSampler[Past]):
    """The velocity is carried on as a polynomial in the flow variable through the last `order` steps of any length.

    One network call a step; order 1 is `Euler`. For variance-exploding noise it is the linear multistep method of
    k-diffusion. The first steps are of lower order, which bounds the whole to order 2 unless `runge_kutta_start`, with
    which they take four calls each. The memory is the last velocities.

    Args:
        order: 1 to 4.
        runge_kutta_start: the first order - 1 steps are of fourth order.
        times: see `TimedSampler`.

    Raises:
        ValueError: an order that does not exist.

    Source: Liu et al. 2022, arXiv:2202.09778 (linear multistep in diffusion); coefficients of Adams and Bashforth, for
    unequal steps.
    """

    order: int = 2
    runge_kutta_start: bool = False
    requires = frozenset({Fact.FLOW})

    def __post_init__(self) -> None:
        """Check order and grid."""
        super().__post_init__()
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"order={self.order}; accepted: 1, 2, 3 or 4")

    def step(self, here: Here, memory: Past | None) -> tuple[GaussianKernel, Past]:
        """See `Sampler.step`."""
        process, prediction, t, u = here.process, here.prediction, here.step.t, here.step.u
        now = Earlier(t, process.velocity(prediction)[1])
        past = before(memory, t)
        known = (now, *past)[: self.order]
        if self.runge_kutta_start and len(known) < self.order and process.coefficients(u)[1] > 0:
            mean = runge_kutta_step(here, u)
        elif len(known) == 1:
            mean = euler_step(here, u)
        else:
            mean, tau = prediction.x, process.tau(t)
            weights = adams_weights([process.tau(answer.t) - tau for answer in known], process.tau(u) - tau)
            for weight, answer in zip(weights, known, strict=True):
                mean = torch.add(mean, answer.value, alpha=weight)
        return GaussianKernel(mean, 0.0, prediction.support), (now, *past)[: self.order]


__all__ = ["AdamsBashforth", "adams_weights"]
