"""Rare samples at no cost: a start with too much variance, from a step at which it is not forgotten."""

from __future__ import annotations

import dataclasses
import math

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.processes import GaussianProcess


@dataclasses.dataclass(frozen=True)
class BoostAndSkip(Guidance):
    """Start from boost * noise, and leave out the first steps.

    Both parts are needed with a stochastic sampler: it forgets where it started while there is next to no signal, so
    the steps that would forget are skipped. A deterministic sampler forgets nothing, and its samples are as spread
    out as the start. A Gaussian prior of standard deviation v under a variance-preserving process that starts at (a, s)
    ends with variance (a v^2 / m)^2 boost^2 + v^2 s^2 / m, m = a^2 v^2 + s^2.

    The published rule is for variance-preserving processes, where noise needs no scaling at the later time. Others are
    scaled by sqrt(a^2 + s^2), which makes them preserve the variance of data of unit size.

    Args:
        boost: factor gamma of the noise; 1 is the usual start.
        skip: steps of the grid left out.

    Raises:
        ValueError: a boost that is not positive, or a negative number of steps.

    Source: Um et al. 2025, arXiv:2502.06516, algorithm 1; defaults of the authors' code for faces, of 250 steps with a
    cosine schedule.
    """

    boost: float = 4.0
    skip: int = 3
    needs = ("real-valued states",)

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if not self.boost > 0 or self.skip < 0:
            raise ValueError(f"boost={self.boost}, skip={self.skip}; boost is above 0, skip at least 0")

    def check(self, run: Run) -> None:
        """There must be noise with a variance, and a step left."""
        if not isinstance(run.prior.process, GaussianProcess):
            kind = type(run.prior.process).__name__
            raise GuidanceError(
                f"BoostAndSkip widens Gaussian noise, and this prior ({run.prior.name}) is {kind}: sharpen tokens less "
                "instead, with guidance=sharpen guidance.temperature=1.2"
            )
        steps = len(run.sampler.grid(run.prior, run.steps)) - 1
        if self.skip >= steps:
            raise GuidanceError(f"skip={self.skip} of {steps} steps leaves none: take more steps")

    def start(self, population: Population, run: Run) -> Population:
        """The widened start, and a shorter grid."""
        first, run.grid = run.grid[0], run.grid[self.skip :]
        then, now = (math.hypot(*run.prior.process.coefficients(t)) for t in (first, run.grid[0]))
        return population.advance(self.boost * now / then * population.state)
