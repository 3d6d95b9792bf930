"""Rare samples at no cost: a start with too much variance, from a step at which it is not forgotten."""

from __future__ import annotations

import dataclasses
import math

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.step import Step
from guidekit.registry import register


@register("guidance", "boost_and_skip")
@dataclasses.dataclass(frozen=True, eq=False)
class BoostAndSkip(Guidance[None]):
    """Start from boost * noise, and leave out the first steps.

    Both parts are needed with a stochastic sampler: it forgets where it started while there is next to no signal, so
    the steps that would forget are skipped. A deterministic sampler forgets nothing, and its samples are as spread
    out as the start. A Gaussian prior of standard deviation v under a variance-preserving process that starts at (a, s)
    ends with variance (a v^2 / m)^2 boost^2 + v^2 s^2 / m, m = a^2 v^2 + s^2.

    The published rule is for variance-preserving processes, where noise needs no scaling at the later time. Others are
    scaled by sqrt(a^2 + s^2), which makes them preserve the variance of data of unit size.

    Args:
        boost: factor gamma of the noise, above 0; 1 is the usual start.
        skip: steps of the grid left out, at least 0.

    Raises:
        ValueError: settings outside their range.

    Source: Um et al. 2025, arXiv:2502.06516, algorithm 1; defaults of the authors' code for faces, of 250 steps with a
    cosine schedule.
    """

    boost: float = 4.0
    skip: int = 3
    layer = Layer.START
    requires = frozenset({Fact.FLOW, Fact.WHOLE})

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if not 0 < self.boost < math.inf:
            raise ValueError(f"boost must be above 0, got {self.boost}")
        if self.skip < 0:
            raise ValueError(f"skip must be at least 0, got {self.skip}")

    def plan(self, steps: tuple[Step, ...], prior: Prior) -> tuple[Step, ...]:
        """All but the first steps.

        Raises:
            GuidanceError: none is left.
        """
        if self.skip >= len(steps):
            raise GuidanceError(f"skip={self.skip} of {len(steps)} steps leaves none: take more steps")
        return steps[self.skip :]

    def start(self, population: Population) -> Population:
        """The widened start: the loop scales noise to s there, this one to sqrt(a^2 + s^2) times the boost."""
        a, s = population.process.coefficients(population.moment.t)
        b, r = population.process.coefficients(1.0)
        factor = self.boost * (math.hypot(a, s) / s) / (math.hypot(b, r) / r)
        return population.at(factor * population.state)
