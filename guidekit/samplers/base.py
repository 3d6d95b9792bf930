"""What a sampler is: a time grid, and the kernel from t to u when no guidance touches it."""

from __future__ import annotations

from guidekit.core.guidance import GuidanceError
from guidekit.core.kernels import Kernel
from guidekit.core.population import Population
from guidekit.priors.base import Prior
from guidekit.processes import DiscreteProcess, GaussianProcess


class Sampler:
    """Base of all samplers; subclasses are frozen dataclasses that implement `propose`."""

    processes: tuple[type, ...] = (GaussianProcess,)
    """Process types it can sample."""

    changes: tuple[str, ...] = ("tilt", "accelerate", "categorical")
    """What guidance may ask of its kernels, by the names of their methods (and "rates", where they have some)."""

    @classmethod
    def fits(cls, process: GaussianProcess | DiscreteProcess) -> bool:
        """Whether it can sample a process."""
        return isinstance(process, cls.processes)

    def check(self, prior: Prior) -> None:
        """Raise `GuidanceError` where this sampler cannot sample the prior."""
        if not self.fits(prior.process):
            from guidekit.samplers import SAMPLERS

            kinds = " or ".join(kind.__name__ for kind in self.processes)
            have = type(prior.process).__name__
            fitting = [name for name, kind in SAMPLERS.items() if kind.fits(prior.process)]
            raise GuidanceError(
                f"sampler {type(self).__name__} needs a {kinds} process, and this prior ({prior.name}) has a {have} "
                f"one; samplers for it: {', '.join(fitting)}"
            )

    def require(self, change: str, plug: str, instead: str) -> None:
        """Raise `GuidanceError` where a plug asks for a change that this sampler's kernels do not have."""
        if change not in self.changes:
            raise GuidanceError(f"{plug} cannot change the steps of sampler {type(self).__name__}: use {instead}")

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """Times from 1 (noise) to 0 (clean); `steps` transitions where the sampler is free to choose."""
        return prior.process.grid(steps)

    def start(self, population: Population) -> Population:
        """The population with whatever the sampler keeps per particle."""
        return population

    def propose(self, population: Population, t: float, u: float) -> Kernel:
        """The law of the next state."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement propose(population, t, u)")


ANY_PROCESS = (GaussianProcess, DiscreteProcess)
