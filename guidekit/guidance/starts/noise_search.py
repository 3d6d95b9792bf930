"""Search over the noise that a run starts from: whole runs are made and judged, and the best of all is kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move
from guidekit.core.loop import populate
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.state import State, map_leaves, repeat, take, where
from guidekit.core.step import Step
from guidekit.objectives.reward import objective_of
from guidekit.registry import register
from guidekit.samplers.ancestral import DDIM


@dataclasses.dataclass(frozen=True)
class Found:
    """Where the runs of this round have started, and the best one of a group so far, the same for all its particles.

    Args:
        begun: noise of each run.
        noise, clean: where the best run started and ended.
        reward: (B,) of it.
    """

    begun: State
    noise: State
    clean: State
    reward: Tensor


@register("guidance", "noise_search")
@dataclasses.dataclass(frozen=True, eq=False)
class NoiseSearch(Guidance[Found]):
    """Zero-order search over the starting noise: in every round N runs start near the noise of the best run so far.

    Neighbors of a noise n are sqrt(1 - reach^2) n + reach u with fresh noise u: they have the law of the noise whatever
    the reach. With reach 1 every run starts anew (random search, best-of-(N rounds)). The first round always does. The
    best run of all rounds is handed back, so a sample is never worse than any that was tried. Whatever stands inside
    (CFG, SVDD, DPS) guides each run. Without a sampler given, runs follow the probability flow: a noise then is a
    sample, and near noises end near each other.

    Args:
        reward: of clean states or objects, higher is better; need not be differentiable.
        neighbors: N, runs a round, at least 1.
        rounds: at least 1.
        reach: how far from the best noise, above 0 and at most 1.

    Raises:
        ValueError: settings outside their range.

    Source: Ma et al. 2025, arXiv:2501.09732, section 3.2 (random and zero-order search).
    """

    reward: Objective
    neighbors: int = 4
    rounds: int = 4
    reach: float = 0.5
    layer = Layer.START

    def __post_init__(self) -> None:
        """Take functions for rewards; refuse settings outside their range."""
        object.__setattr__(self, "reward", objective_of(self.reward, "NoiseSearch"))
        for name in ("neighbors", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.reach <= 1:
            raise ValueError(f"reach must be above 0 and at most 1, got {self.reach}")

    @property
    def particles(self) -> int:  # type: ignore[override]
        """Runs of a round."""
        return self.neighbors

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return (self.reward,)

    @property
    def default_sampler(self) -> Sampler | None:  # type: ignore[override]
        """One that makes a sample of a noise, where neighbors matter."""
        return DDIM(eta=0.0) if self.reach < 1 else None

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Runs must be of one sample each, start from its noise alone, and have neighbors."""
        for member in members:
            if member is not self and (member.particles > 1 or Fact.WEIGHTS in member.provides):
                raise GuidanceError(
                    f"{self.name} keeps the best of whole runs, each of one sample: leave out {member.name}"
                )
            if member is not self and member.layer == Layer.START:
                raise GuidanceError(f"{self.name} decides where runs start: leave out {member.name}")
        plain = Fact.FLOW in prior.provides and type(prior).start is Prior.start
        if self.reach < 1 and not plain:
            raise GuidanceError(
                f"{self.name} needs starts that are real-valued noise and nothing else, and those of this prior "
                f"({prior.name}) are not: take reach=1 (guidance.reach=1), which starts every run anew"
            )

    @property
    def passes(self) -> int:  # type: ignore[override]
        """See `Guidance.passes`."""
        return self.rounds

    def start(self, population: Population) -> Population:
        """Nothing is found yet."""
        worst = torch.full((len(population),), -math.inf, dtype=torch.float64, device=population.device)
        return population.remember(self, Found(population.state, population.state, population.state, worst))

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`; before the first step of a later round, runs start near the best of all so far."""
        return inner(self._again(population, step) if population.moment.t == 0 else population, step)

    def _again(self, population: Population, step: Step) -> Population:
        """The start of a round, after the end of the one before by everything that stands inside."""
        setup = population.setup
        inside = setup.members[: setup.members.index(self)]
        for member in inside:
            population = member.finish(population)
        best = self.judged(population)
        noise = self.near(population, best.noise, int(step.key[-1]) - 1)
        begun = populate(setup, noise, step.start, population.particles)
        for member in inside:
            begun = member.start(begun)
        return begun.remember(self, dataclasses.replace(best, begun=begun.state))

    def judged(self, ended: Population) -> Found:
        """The best run, those of a round that has ended among them."""
        best = ended.recall(self)
        rewards = ended.score(self.reward)
        groups, k = ended.groups, ended.particles
        winner = rewards.view(groups, k).argmax(1) + torch.arange(groups, device=ended.device) * k
        won: Found = repeat(take(Found(best.begun, best.begun, ended.state, rewards), winner), k)
        kept: Found = where(won.reward > best.reward, won, best)
        ended.setup.recorder.record("best reward", kept.reward.view(groups, k)[:, 0])
        return kept

    def near(self, population: Population, noise: State, number: int) -> State:
        """Neighbors of a noise, one a row."""
        fresh = population.setup.noise(len(population), population.condition, (-1, number))
        if self.reach == 1:
            return fresh
        return map_leaves(lambda n, u: math.sqrt(1 - self.reach**2) * n + self.reach * u, noise, fresh)

    def finish(self, population: Population) -> Population:
        """The best run of all rounds."""
        best = self.judged(population)
        first = torch.zeros(population.groups, 1, dtype=torch.long, device=population.device)
        return population.at(best.clean).select(first)
