"""Soft value-based decoding: draw candidates for the next state, keep one by its value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.population import Population
from guidekit.core.prediction import pick
from guidekit.core.run import Run
from guidekit.core.state import rows_differ, repeat
from guidekit.guidance.values import LearnedValue, Value, refuse_other_noise, value_of

ALPHA = 0.01
"""Temperature for rewards between 0 and 1, such as QED."""


@dataclasses.dataclass(frozen=True)
class SVDD(Guidance):
    """Each step draws M next states per sample and keeps candidate m with probability prop. to exp(v_m / alpha).

    The limit M -> infinity with the exact soft value samples p(x_0) exp(reward / alpha) exactly; a finite M is biased
    towards the prior. All candidates are evaluated in one joined network call, and the winner's answer serves the next
    step, so a step costs M network rows a sample, not M + 1. M = 1 is the unguided sampler.

    Args:
        reward: clean states (B, *S) -> (B,), higher is better; need not be differentiable.
        candidates: M.
        alpha: temperature in the unit of the reward; 0 keeps the best candidate (the authors' released code). None is
            what the reward suggests (its `temperature`), or else `ALPHA`.
        value: (population, t) -> values (P * K,), or a `LearnedValue` (SVDD-MC); None is the reward of the clean
            estimate (SVDD-PM), relaxed where the reward can be.

    Source: Li et al. 2024, arXiv:2408.08252, algorithm 1.
    """

    reward: Callable[..., Tensor]
    candidates: int = 16
    alpha: float | None = None
    value: Value | LearnedValue | None = None

    @property
    def temperature(self) -> float:
        """alpha, or what stands in for it."""
        return getattr(self.reward, "temperature", ALPHA) if self.alpha is None else self.alpha

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if self.candidates < 1 or not (isinstance(self.temperature, int | float) and self.temperature >= 0):
            raise ValueError(
                f"candidates={self.candidates}, alpha={self.alpha}: candidates is at least 1, alpha a number >= 0"
            )

    def check(self, run: Run) -> None:
        """Candidates belong to one particle: nothing inside may reorder the population. A value must fit the prior."""
        refuse_other_noise(self.value, run.prior)
        if any(plug.reorders for plug in run.plugs[: run.position(self)]):
            raise GuidanceError(
                "SVDD searches within each particle: put it inside the particle filter, chain(SVDD, filter)"
            )

    def move(
        self, inner: Callable[[Population, float, float], Population], population: Population, t: float, u: float
    ) -> Population:
        """See `Guidance.move`."""
        if self.candidates == 1:
            return inner(population, t, u)
        population.predict(t)  # asked once, before the rows are repeated
        crowd = inner(population.expand(self.candidates), t, u)
        first = torch.arange(population.particles, device=population.run.device) * self.candidates
        if not rows_differ(crowd.state, repeat(population.state, self.candidates)).any():
            return crowd.select(first.expand(population.groups, -1))  # no candidate moved: nothing to choose from
        values = value_of(self.reward, self.value, self.temperature)(crowd, u)
        values = values.view(len(population), self.candidates)
        hopeless = values.isneginf().all(1)
        population.run.ledger.degenerate_groups += int(hopeless.sum())
        points = population.run.draw("choose", self).uniform((len(values),))
        chosen = choose(values.masked_fill(hopeless[:, None], 0.0), self.temperature, points)
        return crowd.select(first + chosen.view(population.groups, population.particles))


def choose(values: Tensor, alpha: float, u: Tensor) -> Tensor:
    """Index (B,) of one of M values (B, M) by softmax(values / alpha), of a best one for alpha = 0; u (B,) uniform."""
    # In the limit of alpha = 0 only the best have weight; ties are broken at random.
    best = torch.where(values == values.amax(1, keepdim=True), 0.0, -torch.inf)
    return pick(torch.log_softmax(values.double() / alpha if alpha else best.double(), 1), u)
