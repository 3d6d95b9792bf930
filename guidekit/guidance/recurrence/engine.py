"""The one engine that goes back: stretches of steps are gone through several times by everything inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move
from guidekit.core.kernel import GaussianKernel
from guidekit.core.loop import walk
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step, back
from guidekit.registry import register


class Climb:
    """How a population gets back from step.t up to step.u > step.t."""

    requires: frozenset[Fact] = frozenset()

    def __call__(self, population: Population, step: Step) -> Population:
        """The population at step.u."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement __call__(population, step)")


@dataclasses.dataclass(frozen=True)
class Noise(Climb):
    """By the prior's own noising: time travel, RePaint, restart."""

    def __call__(self, population: Population, step: Step) -> Population:
        """See `Climb`."""
        return population.noised(step)


@dataclasses.dataclass(frozen=True)
class Invert(Climb):
    """Along the probability flow of a weaker contrast, with the branches that are already there: zigzag sampling.

    Args:
        weight: of the contrast on the way up.
    """

    weight: float = 0.0
    requires = frozenset({Fact.BRANCHES, Fact.FLOW})

    def __call__(self, population: Population, step: Step) -> Population:
        """See `Climb`: a DDIM step up."""
        branches = population.predict().branches
        weaker = branches.null.lerp(branches.conditional, self.weight)  # type: ignore[union-attr]
        kernel: GaussianKernel = population.process.reverse_kernel(weaker, step.t, step.u, eta=0.0)
        return population.at(kernel.mean, step.end, step.key)


@register("tool", "recurrence")
@dataclasses.dataclass(frozen=True, eq=False)
class Recurrence(Guidance[None]):
    """Every stretch is gone through `repeats` times by everything inside; between, the state climbs back.

    Stretches are laid from the last noisy time backwards; the last step, to the clean state, is taken once. Schedules
    look at moments, so each visit is guided alike, and each has noise of its own.

    Args:
        repeats: visits of a stretch, at least 1.
        stretch: steps of it, at least 1.
        climb: how to get back up.
        window: (from, to) times within which stretches lie.

    Raises:
        ValueError: settings outside their range.
    """

    repeats: int = 2
    stretch: int = 1
    climb: Climb = Noise()
    window: tuple[float, float] = (1.0, 0.0)
    layer = Layer.RECURRENCE

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        for name in ("repeats", "stretch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.window) != 2 or not 1 >= self.window[0] >= self.window[1] >= 0:
            raise ValueError(f"window must be two times from noise (1) to clean (0), got {list(self.window)}")

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """What climbing needs."""
        return self.climb.requires

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Noising starts from times of the grid, at which all rows must be."""
        if type(sampler).time is not Sampler.time:
            raise GuidanceError(
                f"{self.name} goes back to times of the grid, and sampler {sampler.name} keeps a "
                "time for every row: use sampler=ancestral"
            )

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`; the last step of a stretch goes back over all of it."""
        population = inner(population, step)
        steps = population.setup.steps
        done = step.key[0] + 1
        left = len(steps) - 1 - done  # noisy times still to come
        if left < 0 or left % self.stretch or done < self.stretch:
            return population
        within = step.key[1:]  # where something outside goes back as well, its visits are told apart
        stretch = [replace(each, key=(*each.key, *within)) for each in steps[done - self.stretch : done]]
        if not self.window[0] >= stretch[0].t >= step.u >= self.window[1]:
            return population
        for visit in range(1, self.repeats):
            population = self.climb(population, back(stretch).again(visit))
            population = walk(population, [each.again(visit) for each in stretch], inner)
        return population


@register("guidance", "time_travel")
def TimeTravel(  # noqa: N802 - a preset
    repeats: int = 2, stretch: int = 1, window: tuple[float, float] = (1.0, 0.0)
) -> Recurrence:
    """Noise up and denoise again, `repeats` visits of every stretch: more guidance at one noise level.

    Args:
        repeats, stretch, window: see `Recurrence`.

    Source: Lugmayr et al. 2022, arXiv:2201.09865 (RePaint); Yu et al. 2023, arXiv:2303.09833 (time travel).
    """
    return Recurrence(repeats, stretch, Noise(), window)


@register("guidance", "restart")
def Restart(repeats: int = 4, stretch: int = 4, window: tuple[float, float] = (0.4, 0.05)) -> Recurrence:  # noqa: N802
    """Restart sampling: in a window of small noise, stretches are noised up and solved again, which contracts errors.

    Args:
        repeats, stretch, window: see `Recurrence`.

    Source: Xu et al. 2023, arXiv:2306.14878.
    """
    return Recurrence(repeats, stretch, Noise(), window)


@register("guidance", "zigzag")
def Zigzag(  # noqa: N802 - a preset
    weight: float = 0.0, repeats: int = 2, window: tuple[float, float] = (1.0, 0.0)
) -> Recurrence:
    """Zigzag sampling: each guided step is inverted under a weaker contrast and taken again.

    Args:
        weight: of the contrast on the way up; what is gained is the difference to that of the contrast inside.
        repeats, window: see `Recurrence`.

    Source: Bai et al. 2024, arXiv:2412.10891 (Z-sampling).
    """
    return Recurrence(repeats, 1, Invert(weight), window)


__all__ = ["Climb", "Invert", "Noise", "Recurrence", "Restart", "TimeTravel", "Zigzag"]
