"""Sampling that begins at a given object: noised up to a time, it keeps what is larger than that noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, Layer
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.requirements import Fact
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.registry import register


@register("guidance", "from_sample")
@dataclasses.dataclass(frozen=True, eq=False)
class FromSample(Guidance[Tensor | None]):
    """Start at time t from a given object noised to t instead of noise alone; earlier steps of the grid are left out.

    t is the first time of the grid that is at most `time`. A Gaussian prior of standard deviation v and mean 0 started
    at (a, s) ends, with m = a^2 v^2 + s^2, at mean a^2 v^2 x_0 / m and variance (a v^2 s / m)^2 + v^2 s^2 / m where
    steps are ancestral, and at mean v a x_0 / sqrt(m) and variance v^2 s^2 / m where they are deterministic. Tokens are
    noised as the prior's process says, so a lead is varied with a strength. Of masked tokens, by whose number a network
    that is told no time knows the noise, each is masked at `time` itself and all steps of the grid are taken.

    Args:
        sample: x_0, a state (1, *S) for all samples, or one per sample.
        time: in (0, 1], larger is farther from it.

    Raises:
        ValueError: a time outside (0, 1].

    Source: Meng et al. 2021, arXiv:2108.01073 (SDEdit), algorithm 1 without a mask.
    """

    sample: Tensor
    time: float = 0.5
    layer = Layer.START
    requires = frozenset({Fact.WHOLE})

    def __post_init__(self) -> None:
        """Refuse a time that is none."""
        if not 0 < self.time <= 1:
            raise ValueError(f"time must be above 0 and at most 1, got {self.time}")

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The sample must have the shape of the prior's states; of masked tokens none may be masked once more."""
        if tuple(self.sample.shape[1:]) != tuple(prior.event_shape):
            raise GuidanceError(
                f"the sample to start from has shape {tuple(self.sample.shape)}; states of this prior "
                f"({prior.name}) are {(1, *prior.event_shape)}"
            )

        if _masks(prior) and Fact.REVERSAL not in sampler.provides:
            raise GuidanceError(
                f"{self.name}: steps of {sampler.name} mask tokens again, whatever the time is: use ancestral or "
                "first_hitting"
            )

    def rows(self, samples: int) -> Tensor | None:
        """See `Guidance.rows`: the samples, where there is one for each."""
        if len(self.sample) not in (1, samples):
            raise GuidanceError(
                f"{len(self.sample)} samples to start from for {samples} samples: give one, or one each"
            )
        return self.sample if len(self.sample) > 1 else None

    def plan(self, steps: tuple[Step, ...], prior: Prior) -> tuple[Step, ...]:
        """The steps that start no later than the time.

        Raises:
            GuidanceError: there is none.
        """
        if _masks(prior):
            return steps
        taken = tuple(step for step in steps if step.t <= self.time)
        if not taken:
            raise GuidanceError(f"time={self.time} comes after the last of {len(steps)} steps: take more steps")
        return taken

    def start(self, population: Population) -> Population:
        """The noised sample."""
        step, state = population.setup.steps[0], population.state
        given: Any = self.sample.expand_as(state) if len(self.sample) == 1 else population.recall(self)
        time = self.time if _masks(population.setup.prior) else step.t
        kernel = population.process.marginal(given.to(state), time)
        return population.at(kernel.sample(population.draw(step, "start", self))).remember(self, None)


def _masks(prior: Prior) -> bool:
    """Whether the masks of a state tell the time."""
    return bool(getattr(prior, "timeless", False))
