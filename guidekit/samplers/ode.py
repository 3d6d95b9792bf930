"""One-step solvers of the probability-flow ODE, in the flow variable tau of the process."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from guidekit.core.kernels import GaussianKernel
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction
from guidekit.samplers.base import TimedSampler


@dataclasses.dataclass(frozen=True)
class Euler(TimedSampler):
    """First-order steps along the probability flow in the process' own flow variable; one network call a step.

    For variance-exploding processes and rectified flow this is DDIM with eta = 0.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 13; variable-preserving form Salimans & Ho 2022, arXiv:2202.00512.
    """

    def propose(self, population: Population, t: float, u: float) -> GaussianKernel:
        """See `Sampler.propose`."""
        process, prediction = population.run.prior.process, population.predict(t)
        tau, velocity = process.velocity(prediction)
        return GaussianKernel(prediction.x + (process.tau(u) - tau) * velocity, 0.0, prediction)


@dataclasses.dataclass(frozen=True)
class Heun(TimedSampler):
    """Second-order steps along the probability flow: Euler, then the mean of both slopes; the last step is Euler's.

    Two network calls a step, the second at a state that is not kept.

    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 1.
    """

    def propose(self, population: Population, t: float, u: float) -> GaussianKernel:
        """See `Sampler.propose`."""
        prediction = population.predict(t)
        return GaussianKernel(heun_step(population, prediction, t, u), 0.0, prediction)


def heun_step(population: Population, prediction: GaussianPrediction, t: float, u: float) -> Tensor:
    """The state at u of Heun's step from the prediction's state at t, (B, *S); Euler's where u is clean."""
    process = population.run.prior.process
    tau, velocity = process.velocity(prediction)
    step = process.tau(u) - tau
    euler = prediction.x + step * velocity
    if process.coefficients(u)[1] == 0:
        return euler
    _, ahead = process.velocity(ask(population, euler, t, u))
    return prediction.x + 0.5 * step * (velocity + ahead)


def runge_kutta_step(population: Population, prediction: GaussianPrediction, t: float, u: float) -> Tensor:
    """The state at u > 0 of a fourth-order Runge-Kutta step from the prediction's state at t, (B, *S).

    Three network calls besides the prediction's. Source: the classical method, in the flow variable.
    """
    process, x = population.run.prior.process, prediction.x
    tau, first = process.velocity(prediction)
    step = process.tau(u) - tau
    middle = process.at_tau(tau + 0.5 * step)
    second = process.velocity(ask(population, x + 0.5 * step * first, t, middle))[1]
    third = process.velocity(ask(population, x + 0.5 * step * second, t, middle))[1]
    fourth = process.velocity(ask(population, x + step * third, t, u))[1]
    return x + step / 6 * (first + 2 * second + 2 * third + fourth)


def ask(population: Population, x: Tensor, t: float, at: float) -> GaussianPrediction:
    """The guided belief at a state x (B, *S) and a time `at` inside the step that starts at t; one network call."""
    with population.run.within(t, population):
        return population.run.denoise(x, at, population.condition)
