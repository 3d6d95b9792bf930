"""Ancestral sampling and DDIM."""

from __future__ import annotations

import dataclasses

from guidekit.core.kernels import Kernel
from guidekit.core.population import Population
from guidekit.processes import GaussianProcess, ReflectedProcess
from guidekit.samplers.base import ANY_PROCESS, TimedSampler


@dataclasses.dataclass(frozen=True)
class Ancestral(TimedSampler):
    """x_u ~ q(x_u | x_t, x_0) with x_0 replaced by its prediction; for Gaussian, reflected and discrete processes.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 6-7; discrete: Austin et al. 2021, arXiv:2107.03006, eq. 4.
    """

    processes = ANY_PROCESS

    def propose(self, population: Population, t: float, u: float) -> Kernel:
        """See `Sampler.propose`."""
        return population.run.prior.process.reverse_kernel(population.predict(t), population.time(t), u)


@dataclasses.dataclass(frozen=True)
class DDIM(TimedSampler):
    """Ancestral sampling with its noise scaled by eta; eta = 0 is deterministic, eta = 1 is `Ancestral`.

    Source: Song et al. 2020, arXiv:2010.02502, eq. 12 and 16.
    """

    eta: float = 0.0
    processes = (GaussianProcess, ReflectedProcess)

    def propose(self, population: Population, t: float, u: float) -> Kernel:
        """See `Sampler.propose`."""
        process = population.run.prior.process
        return process.reverse_kernel(population.predict(t), t, u, eta=self.eta)
