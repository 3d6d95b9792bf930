"""One-step solvers of the probability-flow ODE, in the flow variable tau of the process."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.kernel import GaussianKernel, Number
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.state import column
from guidekit.processes.gaussian import combined
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here, TimedSampler


@register("sampler", "euler")
@dataclasses.dataclass(frozen=True, eq=False)
class Euler(TimedSampler[None]):
    """First-order steps along the probability flow in the process' own flow variable; one network call a step.

    For variance-exploding processes and rectified flow this is DDIM with eta = 0. The step to a clean state is the
    prediction itself.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 13; variable-preserving form Salimans & Ho 2022, arXiv:2202.00512.
    """

    requires = frozenset({Fact.FLOW})
    provides = frozenset({Fact.ESTIMATE})

    def step(self, here: Here, memory: None) -> tuple[GaussianKernel, None]:
        """See `Sampler.step`."""
        return GaussianKernel(euler_step(here, here.step.u), 0.0, here.prediction.support), None


@register("sampler", "heun")
@dataclasses.dataclass(frozen=True, eq=False)
class Heun(TimedSampler[None]):
    """Second-order steps along the probability flow: Euler, then the mean of both slopes; the last step is Euler's.

    Two network calls a step, the second at a state that is not kept.

    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 1.
    """

    requires = frozenset({Fact.FLOW})

    def step(self, here: Here, memory: None) -> tuple[GaussianKernel, None]:
        """See `Sampler.step`."""
        return GaussianKernel(heun_step(here, here.step.u), 0.0, here.prediction.support), None


def euler_step(here: Here, u: float) -> Tensor:
    """The state at u of Euler's step from the present one, (B, *S).

    The step to a clean state is the prediction itself: a straight line in tau does not end there where the noise is no
    straight line in it (sub-VP: s is quadratic), and its error, a constant, would be all that is left in the end.
    """
    process, prediction = here.process, here.prediction
    b, r = process.coefficients(u)
    if r == 0:
        return b * prediction.mean
    tau, alpha, beta = process.flow(prediction.a, prediction.s)
    length = process.flow(b, r)[0] - tau
    return combined(prediction.mean, length * alpha, prediction.x, 1 + length * beta)


def heun_step(here: Here, u: float) -> Tensor:
    """The state at u of Heun's step from the present one, (B, *S); Euler's where u is clean."""
    process, prediction = here.process, here.prediction
    if process.coefficients(u)[1] == 0:
        return euler_step(here, u)
    tau, velocity = process.velocity(prediction)
    length = process.tau(u) - tau
    _, ahead = process.velocity(here.ask(along(prediction.x, velocity, length), u))
    return along(prediction.x, velocity + ahead, 0.5 * length)


def runge_kutta_step(here: Here, u: float) -> Tensor:
    """The state at u > 0 of a fourth-order Runge-Kutta step from the present one, (B, *S).

    Three network calls besides that of the step. Source: the classical method, in the flow variable.
    """
    process, prediction = here.process, here.prediction
    first, tau = process.velocity(prediction)[1], process.tau(here.step.t)
    length = process.tau(u) - tau
    middle = process.at_tau(tau + 0.5 * length)

    def slope(velocity: Tensor, share: float, at: float) -> Tensor:
        asked: GaussianPrediction = here.ask(along(prediction.x, velocity, share * length), at)
        return process.velocity(asked)[1]

    second = slope(first, 0.5, middle)
    third = slope(second, 0.5, middle)
    fourth = slope(third, 1.0, u)
    return along(prediction.x, first + 2 * second + 2 * third + fourth, length / 6)


def along(x: Tensor, velocity: Tensor, length: Number) -> Tensor:
    """x + length * velocity, (B, *S); length a number or (B,)."""
    if isinstance(length, Tensor):
        return torch.addcmul(x, column(length.to(x.dtype), x), velocity)
    return torch.add(x, velocity, alpha=length)


__all__ = ["Euler", "Heun", "along", "euler_step", "heun_step", "runge_kutta_step"]
