"""Sampling that begins at a given object: noised up to a time, it keeps what is larger than that noise."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.processes import GaussianProcess


@dataclasses.dataclass(frozen=True, eq=False)
class FromSample(Guidance):
    """Start at time t from a(t) x_0 + s(t) noise instead of noise alone; earlier steps of the grid are left out.

    t is the first time of the grid that is at most `time`. A Gaussian prior of standard deviation v and mean 0 started
    at (a, s) ends, with m = a^2 v^2 + s^2, at mean a^2 v^2 x_0 / m and variance (a v^2 s / m)^2 + v^2 s^2 / m where
    steps are ancestral, and at mean v a x_0 / sqrt(m) and variance v^2 s^2 / m where they are deterministic.

    Args:
        sample: x_0, a state (1, *S) for all samples.
        time: in (0, 1], larger is farther from it.

    Raises:
        ValueError: a time outside (0, 1].

    Source: Meng et al. 2021, arXiv:2108.01073 (SDEdit), algorithm 1 without a mask.
    """

    sample: Tensor
    time: float = 0.5
    needs = ("real-valued states",)

    def __post_init__(self) -> None:
        """Refuse a time that is none."""
        if not 0 < self.time <= 1:
            raise ValueError(f"time={self.time}; above 0 and at most 1 is expected")

    def check(self, run: Run) -> None:
        """There must be Gaussian noise, a step left, and a sample of the prior's shape."""
        if not isinstance(run.prior.process, GaussianProcess):
            kind = type(run.prior.process).__name__
            raise GuidanceError(f"FromSample adds Gaussian noise, and this prior ({run.prior.name}) is {kind}")
        if tuple(self.sample.shape) != (1, *run.prior.event_shape):
            raise GuidanceError(
                f"the sample to start from has shape {tuple(self.sample.shape)}; states of this prior "
                f"({run.prior.name}) are {(1, *run.prior.event_shape)}"
            )
        if not any(0 < t <= self.time for t in run.sampler.grid(run.prior, run.steps)):
            raise GuidanceError(f"time={self.time} comes after the last of {run.steps} steps: take more steps")

    def start(self, population: Population, run: Run) -> Population:
        """The noised sample, and a shorter grid."""
        before = run.prior.process.coefficients(run.grid[0])[1]  # the noise that is there
        run.grid = [t for t in run.grid if t <= self.time]
        signal, noise = run.prior.process.coefficients(run.grid[0])
        return population.advance(signal * self.sample.to(population.state) + noise / before * population.state)
