"""Soft value-based decoding: draw candidates for the next state, keep one by its value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.random import pick
from guidekit.core.sampler import Sampler
from guidekit.core.state import changed_rows, repeat
from guidekit.core.step import Step
from guidekit.guidance.values import Estimate, estimate_of
from guidekit.objectives.reward import objective_of
from guidekit.registry import register

ALPHA = 0.01
"""Temperature for rewards between 0 and 1, such as QED."""


@register("guidance", "svdd")
@dataclasses.dataclass(frozen=True, eq=False)
class SVDD(Guidance[None]):
    """Each step draws M next states per sample and keeps candidate m with probability prop. to exp(v_m / alpha).

    The limit M -> infinity with the exact soft value samples p(x_0) exp(reward / alpha) exactly; a finite M is biased
    towards the prior. All candidates are evaluated in one joined network call, and the winner's answer serves the next
    step, so a step costs M network rows a sample, not M + 1. M = 1 is the unguided sampler. What the choice does to the
    law is told to a particle filter around it: together they are nested sequential Monte Carlo, exact.

    Args:
        reward: higher is better; need not be differentiable.
        candidates: M, at least 1.
        alpha: temperature in the unit of the reward; 0 keeps the best candidate (the authors' released code). None is
            what the reward suggests, or else `ALPHA`.
        value: of noisy states, see `guidekit.guidance.values.estimate_of` (a `LearnedValue` is SVDD-MC); None is the
            reward of the clean estimate (SVDD-PM), relaxed where the reward can be.

    Raises:
        ValueError: settings outside their range.

    Source: Li et al. 2024, arXiv:2408.08252, algorithm 1.
    """

    reward: Objective
    candidates: int = 16
    alpha: float | None = None
    value: Estimate | Objective | None = None
    estimate: Estimate = dataclasses.field(init=False, repr=False)
    layer = Layer.SEARCH

    def __post_init__(self) -> None:
        """Take functions for rewards; refuse impossible settings."""
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {self.candidates}")
        if self.alpha is not None and (isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float)):
            raise ValueError(f"alpha must be a number of at least 0, got {self.alpha!r}")
        if self.alpha is not None and not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be a number of at least 0, got {self.alpha}")
        reward = objective_of(self.reward, "SVDD")
        object.__setattr__(self, "reward", reward)
        warmth = 1.0 if self.alpha == 0 else self.alpha
        object.__setattr__(self, "estimate", estimate_of("SVDD", reward, self.value, warmth, ALPHA))

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Candidates must differ."""
        return frozenset({Fact.NOISE} if self.candidates > 1 else ()) | self.estimate.requires

    @property
    def crowd(self) -> int:  # type: ignore[override]
        """Rows of every particle."""
        return self.candidates

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return self.estimate.objectives

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """A greedy choice has no weight that would make up for it."""
        if self.alpha == 0 and any(Fact.WEIGHTS in member.provides for member in members):
            raise GuidanceError("SVDD(alpha=0) keeps the best candidate, which no weight makes up for: give alpha > 0")

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`; the winner's prediction serves the next step."""
        if self.candidates == 1:
            return inner(population, step)
        population.predict()  # asked once, before the rows are repeated
        crowd = inner(population.expand(self.candidates), step)
        first = torch.arange(population.particles, device=population.device) * self.candidates
        if not len(changed_rows(crowd.state, repeat(population.state, self.candidates))):
            return crowd.select(first.expand(population.groups, -1))  # no candidate moved: nothing to choose from
        values = self.estimate.value(crowd).view(len(population), self.candidates)
        hopeless = values.isneginf().all(1)
        population.setup.network.ledger.count(degenerate_groups=int(hopeless.sum()))
        values = values.masked_fill(hopeless[:, None], 0.0)
        points = population.draw(step, "choose", self).uniform(len(values))
        winner = choose(values, points, greedy=self.alpha == 0)[:, None]
        mean = torch.logsumexp(values, 1) - math.log(self.candidates)
        chosen = crowd.select(first + winner.view(population.groups, population.particles))
        return chosen.reweigh(mean - values.gather(1, winner)[:, 0])


def choose(values: Tensor, u: Tensor, *, greedy: bool) -> Tensor:
    """Index (B,) of one of M values (B, M) by softmax, or of a best one; u (B,) uniform."""
    if greedy:  # ties are broken at random
        values = torch.where(values == values.amax(1, keepdim=True), 0.0, -torch.inf)
    return pick(values.double(), u)
