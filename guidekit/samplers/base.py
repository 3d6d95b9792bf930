"""What a sampler is: a time grid, and the kernel from t to u when no guidance touches it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from guidekit.core.guidance import GuidanceError
from guidekit.core.kernels import Kernel
from guidekit.core.population import Population
from guidekit.priors.base import Prior
from guidekit.processes import DiscreteProcess, GaussianProcess, ReflectedProcess
from guidekit.processes.grids import Grid, grid_from, times_of

Times = Grid | str | Mapping[str, Any] | Sequence[float] | None
"""A time grid, see `guidekit.processes.grids`; None is the process' own."""


class Sampler:
    """Base of all samplers; subclasses are frozen dataclasses that implement `propose`."""

    processes: tuple[type, ...] = (GaussianProcess,)
    """Process types it can sample."""

    changes: tuple[str, ...] = ("tilt", "accelerate", "categorical")
    """What guidance may ask of its kernels, by the names of their methods (and "rates", where they have some)."""

    @classmethod
    def fits(cls, process: GaussianProcess | ReflectedProcess | DiscreteProcess) -> bool:
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


@dataclasses.dataclass(frozen=True)
class TimedSampler(Sampler):
    """A sampler that takes any time grid.

    Args:
        times: see `guidekit.processes.grids`: "uniform", "karras", "log_snr", for processes in discrete time "leading",
            "trailing", "linspace", a mapping {name, options}, a list of times from 1 to 0 (its length then overrides
            `steps`), or a function (process, steps) -> times. None is the process' own grid.

    Raises:
        ValueError: no such grid, or times that do not fall from 1 to 0.
    """

    times: Times = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check the grid."""
        object.__setattr__(self, "times", grid_from(self.times))

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """See `Sampler.grid`."""
        return times_of(self.times, prior.process, steps)

    def start(self, population: Population) -> Population:
        """See `Sampler.start`; a grid that starts below t = 1 starts at the noise of its first time."""
        first, process = population.run.grid[0], population.run.prior.process
        if first == 1 or isinstance(process, DiscreteProcess):
            return population
        return population.advance(process.restart(population.state, first))


ANY_PROCESS = (GaussianProcess, ReflectedProcess, DiscreteProcess)
