"""How candidates come about: by the noise of the sampler, of the process, or of where the step is to lead."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Move, overrides
from guidekit.core.loop import walk
from guidekit.core.population import Population
from guidekit.core.sampler import Sampler
from guidekit.core.state import State, altered
from guidekit.core.step import Step, back


class Ended:
    """What branches have in common whose candidates are at the end of the step when they are judged."""

    def seen(self, crowd: Population) -> State:
        """By what candidates differ, a tree with B rows."""
        return crowd.state

    def arrived(self, inner: Move, chosen: Population, step: Step) -> Population:
        """The chosen ones at the end of the step."""
        return chosen


@dataclasses.dataclass(frozen=True)
class Drawn(Ended):
    """The step is taken M times, by the noise of the sampler."""

    requires = frozenset({Fact.NOISE})

    def check(self, sampler: Sampler, who: str, inside: Sequence[Guidance]) -> None:
        """Any sampler that draws."""

    def __call__(self, inner: Move, population: Population, step: Step, candidates: int) -> Population:
        """The population at the end of the step, every particle M times in a row."""
        population.predict()  # asked once, before the rows are repeated
        return inner(population.expand(candidates), step)


@dataclasses.dataclass(frozen=True)
class Renoised(Ended):
    """The step is taken once; every candidate then goes back by some steps of noise of its own, and down again.

    Any sampler will do, as the prior's own noising makes the difference.

    Args:
        steps: that are gone back; fewer where there are not so many.
    """

    steps: int = 2
    requires = frozenset[Fact]()

    def check(self, sampler: Sampler, who: str, inside: Sequence[Guidance]) -> None:
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


@dataclasses.dataclass(frozen=True)
class Destinations:
    """The clean state is guessed M times; the chosen ones take the step, as if they knew that they lead there.

    A guess is as good as clean, so rewards judge it as it is, and the network is asked for the parents alone.

    Args:
        spread: of the guesses of real numbers, see `Prediction.decided`.
    """

    spread: float = 1.0
    requires = frozenset({Fact.ESTIMATE})

    def check(self, sampler: Sampler, who: str, inside: Sequence[Guidance]) -> None:
        """What moves inside would ask for estimates of its own, and forget the guess."""
        for member in inside:
            if overrides(member, "move"):
                raise GuidanceError(
                    f"{who} decides where a step leads, and {member.name} inside it moves by itself: leave out one, or "
                    "use TreeSearch"
                )

    def __call__(self, inner: Move, population: Population, step: Step, candidates: int) -> Population:
        """The population at the start of the step, every particle M times in a row, each with a guess."""
        population.predict()  # asked once, before the rows are repeated
        crowd = population.expand(candidates)
        return crowd.believing(crowd.predict().decided(crowd.draw(step, "destination"), self.spread))

    def seen(self, crowd: Population) -> State:
        """See `Ended.seen`."""
        return crowd.state, crowd.clean()

    def arrived(self, inner: Move, chosen: Population, step: Step) -> Population:
        """See `Ended.arrived`; what is believed there is no longer what was guessed."""
        return altered(inner(chosen, step), answer=None)


Branch = Drawn | Renoised | Destinations
