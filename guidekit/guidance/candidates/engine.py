"""The one engine that searches among candidates: particles branch, are judged, and some go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.guidance.candidates.branches import Branch, Drawn
from guidekit.guidance.candidates.choices import Choice, OneOfEach, Width, at
from guidekit.guidance.candidates.judges import Judge
from guidekit.registry import register


@register("tool", "candidate_search")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CandidateSearch(Guidance[None]):
    """In every step each particle branches into M candidates, all are judged in one joined network call, some go on.

    The winners' answers serve the next step, so a step costs M network rows a particle, not M + 1. Where nothing is
    chosen the sampler's own step is taken, as it is without guidance.

    Args:
        judge: of candidates, see `guidekit.guidance.candidates.judges`.
        choice: who goes on, see `guidekit.guidance.candidates.choices`.
        branch: how candidates come about, see `guidekit.guidance.candidates.branches`.
        candidates: M of a particle, at least 1; several are spread evenly over the steps.
        interval: steps between choices; the last step is always one where the window reaches it.
        window: (from, to) times within which candidates are drawn.

    Raises:
        ValueError: settings outside their range.
    """

    judge: Judge
    choice: Choice = OneOfEach()
    branch: Branch = Drawn()
    candidates: Width = 16
    interval: int = 1
    window: tuple[float, float] = (1.0, 0.0)
    layer = Layer.SEARCH
    stream = "SVDD"  # whose numbers all of them draw

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        for name, width in (("candidates", self.candidates), ("width", getattr(self.choice, "width", 1))):
            check_width(name, width)
        if self.interval < 1:
            raise ValueError(f"interval must be at least 1, got {self.interval}")
        if len(self.window) != 2 or not 1 >= self.window[0] >= self.window[1] >= 0:
            raise ValueError(f"window must be two times from noise (1) to clean (0), got {list(self.window)}")

    @property
    def most(self) -> int:
        """Most candidates of a particle."""
        return self.candidates if isinstance(self.candidates, int) else max(self.candidates)

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Candidates must differ; and what their judge needs."""
        return (self.branch.requires if self.most > 1 else frozenset()) | self.judge.requires

    @property
    def crowd(self) -> int:  # type: ignore[override]
        """Rows of every particle."""
        return self.most

    @property
    def particles(self) -> int:  # type: ignore[override]
        """Particles a group."""
        return self.choice.particles

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return self.judge.objectives

    def caution(self, steps: int) -> str:
        """See `Guidance.caution`."""
        alone = self.most == self.particles == 1
        return f"{self.name}: one candidate leaves nothing to choose and is the unguided sampler" if alone else ""

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """A greedy choice has no weight that would make up for it; neither have states put together."""
        if self.choice.greedy and any(Fact.WEIGHTS in member.provides for member in members):
            raise GuidanceError(
                f"{self.name} keeps the best candidate, which no weight of a filter makes up for: take SVDD with "
                "alpha > 0, or leave out the filter"
            )
        self.branch.check(sampler, self.name, members[: members.index(self)])
        self.judge.check(prior, self.name)

    def due(self, step: Step) -> bool:
        """Whether candidates are drawn in a step."""
        counted = (step.start.index + 1) % self.interval == 0 or step.u == 0
        return counted and self.window[1] <= step.u <= self.window[0]

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`; the winner's prediction serves the next step."""
        steps = population.setup.steps
        count = at(self.candidates, step, steps) if self.due(step) else 1
        if not self.due(step) or self.choice.idle(population.particles, count, step, steps):
            return inner(population, step)
        chosen = self.choice(self, self.branch(inner, population, step, count), count, step)
        return self.branch.arrived(inner, chosen, step)

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`."""
        return self.choice.finish(self, population)


def check_width(name: str, width: Width) -> None:
    """Refuse a width that is none.

    Raises:
        ValueError: no whole numbers of at least 1.
    """
    each = [width] if isinstance(width, int) else list(width)
    if not each or not all(isinstance(one, int) and not isinstance(one, bool) and one >= 1 for one in each):
        raise ValueError(f"{name} must be at least 1, or a list of such numbers, got {width!r}")
