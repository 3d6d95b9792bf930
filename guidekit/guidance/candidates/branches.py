"""How candidates come about: by the noise of the sampler, or by noising and denoising once more."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

from guidekit.core.guidance import Fact, GuidanceError, Move
from guidekit.core.loop import walk
from guidekit.core.population import Population
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step, back


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The step is taken M times, by the noise of the sampler."""

    requires = frozenset({Fact.NOISE})

    def check(self, sampler: Sampler, who: str) -> None:
        """Any sampler that draws."""

    def __call__(self, inner: Move, population: Population, step: Step, candidates: int) -> Population:
        """The population at the end of the step, every particle M times in a row."""
        population.predict()  # asked once, before the rows are repeated
        return inner(population.expand(candidates), step)


@dataclasses.dataclass(frozen=True)
class Renoised:
    """The step is taken once; every candidate then goes back by some steps of noise of its own, and down again.

    Any sampler will do, as the prior's own noising makes the difference.

    Args:
        steps: that are gone back; fewer where there are not so many.
    """

    steps: int = 2
    requires = frozenset[Fact]()

    def check(self, sampler: Sampler, who: str) -> None:
        """Noising starts from times of the grid, at which all rows must be."""
        if type(sampler).time is not Sampler.time:
            raise GuidanceError(
                f"{who} goes back to times of the grid, and sampler {sampler.name} keeps a time for every row: use "
                "sampler=ancestral"
            )

    def __call__(self, inner: Move, population: Population, step: Step, candidates: int) -> Population:
        """The population at the end of the step, every particle M times in a row."""
        crowd = inner(population, step).expand(candidates)
        done, within = step.key[0] + 1, step.key[1:]
        taken = crowd.setup.steps[max(0, done - self.steps) : done]
        stretch = [replace(each, key=(*each.key, *within)) for each in taken]
        crowd = crowd.noised(back(stretch).again(1))
        return walk(crowd, [each.again(1) for each in stretch], inner)


Branch = Drawn | Renoised
