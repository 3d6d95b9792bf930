"""Solvers of the probability-flow ODE."""

from __future__ import annotations

import dataclasses

from guidekit.core.kernels import GaussianKernel
from guidekit.core.population import Population
from guidekit.samplers.base import Sampler


@dataclasses.dataclass(frozen=True)
class Euler(Sampler):
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
class Heun(Sampler):
    """Second-order steps along the probability flow: Euler, then the mean of both slopes; the last step is Euler's.

    Two network calls a step, the second at a state that is not kept.

    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 1.
    """

    def propose(self, population: Population, t: float, u: float) -> GaussianKernel:
        """See `Sampler.propose`."""
        run, prediction = population.run, population.predict(t)
        process = run.prior.process
        tau, velocity = process.velocity(prediction)
        step = process.tau(u) - tau
        euler = prediction.x + step * velocity
        if process.coefficients(u)[1] == 0:
            return GaussianKernel(euler, 0.0, prediction)
        _, ahead = process.velocity(run.denoise(euler, u, population.condition))
        return GaussianKernel(prediction.x + 0.5 * step * (velocity + ahead), 0.0, prediction)
