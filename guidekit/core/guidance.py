"""The six places where a guidance may act on the sampling loop, and how guidances combine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from guidekit.core.objective import Objective
from guidekit.core.owner import Memory, Owner
from guidekit.core.prediction import Prediction
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise, Question
from guidekit.core.requirements import Fact, GuidanceError, Layer
from guidekit.core.step import Step
from guidekit.preset import Named

if TYPE_CHECKING:
    from guidekit.core.population import Population
    from guidekit.core.prior import Prior
    from guidekit.core.sampler import Sampler

Propose = Callable[["Population", Step], Proposal]
Move = Callable[["Population", Step], "Population"]


class Guidance(Named, Owner[Memory]):
    """Override the hooks you need; the others pass through and cost nothing.

    `inner` is the same hook of everything inside. Asked twice with one step it gives one answer, with `step.again(k)`
    an independent one. Guidances are frozen dataclasses that compare by identity (`eq=False`): they own slots.
    """

    layer: ClassVar[Layer] = Layer.ESTIMATE
    """Place in the onion."""
    requires: frozenset[Fact] = frozenset()
    provides: frozenset[Fact] = frozenset()
    shifts: bool = False
    """Whether it moves kernels: where particles are weighed they need noise, or no weight could make up for it."""
    timeless: bool = False
    """Whether an overridden `denoise` does without moments, memory and draws, so that unchanged rows keep answers."""
    objectives: tuple[Objective, ...] = ()
    """What it wants: their facts count as its own, their slots are filled before the first step."""
    particles: int = 1
    """Particles per group that it wants when the caller names none."""
    crowd: int = 1
    """Rows that it makes of every particle, for choosing batch sizes."""
    passes: int = 1
    """How many times all steps are taken; what happens between two rounds is up to it."""
    default_sampler: Sampler | None = None
    """Sampler that it wants when the caller names none; None is the prior's own."""

    @property
    def stream(self) -> str:
        """For the keys of its random numbers: a preset draws what its engine draws."""
        return type(self).__name__

    @property
    def members(self) -> tuple[Guidance, ...]:
        """The guidances this one consists of, inside first."""
        return (self,)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Raise `GuidanceError` for what `requires` cannot say; members are all guidances of the run, inside first."""

    def caution(self, steps: int) -> str:
        """What to expect of a run of so many steps that works and may give little: a sentence; empty for nothing."""
        return ""

    def plan(self, steps: tuple[Step, ...], prior: Prior) -> tuple[Step, ...]:
        """Which steps are taken, from noise to clean?"""
        return steps

    def start(self, population: Population) -> Population:
        """Where do we begin? Slots are filled here."""
        return population

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """What is the clean state, as far as we know? Row by row."""
        return inner(question)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """How may we get from step.t to step.u?"""
        return inner(population, step)

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """What happens to the population between step.t and step.u?"""
        return inner(population, step)

    def finish(self, population: Population) -> Population:
        """What do we hand back?"""
        return population


@dataclasses.dataclass(frozen=True, eq=False)
class Chain(Guidance):
    """An onion of guidances; made by `chain`."""

    given: tuple[Guidance, ...]

    @property
    def members(self) -> tuple[Guidance, ...]:
        """All guidances, inside first."""
        return tuple(member for guidance in self.given for member in guidance.members)

    def __repr__(self) -> str:
        return super().__repr__() if self.preset is not None else f"chain({', '.join(map(repr, self.given))})"


def chain(*guidances: Guidance | None) -> Guidance:
    """Compose guidances; chain(a, b) means b wraps a, None is left out.

    Inside to outside: a contrast (CFG), what changes its estimate, the gradient that looks through both, what changes
    kernels, candidate search (SVDD), recurrence, the particle filter or choice among particles (FK steering,
    best-of-N).

    Raises:
        GuidanceError: something that is no guidance.
    """
    for guidance in guidances:
        if guidance is not None and not isinstance(guidance, Guidance):
            given = f"the class {guidance.__name__}" if isinstance(guidance, type) else repr(guidance)
            raise GuidanceError(f"chain takes guidances, such as CFG(3.0); got {given}")
    return Chain(tuple(guidance for guidance in guidances if guidance is not None))


def overrides(guidance: Guidance, hook: str) -> bool:
    """Whether a guidance has its own version of a hook."""
    return getattr(type(guidance), hook) is not getattr(Guidance, hook)


__all__ = ["Chain", "Fact", "Guidance", "GuidanceError", "Layer", "Move", "Propose", "chain", "overrides"]
