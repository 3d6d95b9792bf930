"""Best-of-N: sample N times, keep the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.objectives.reward import objective_of
from guidekit.registry import register


@register("guidance", "best_of_n")
@dataclasses.dataclass(frozen=True, eq=False)
class BestOfN(Guidance[None]):
    """Keeps the particle with the highest reward of every group; N is the number of particles.

    The baseline every search is to be compared with at equal network calls. Its KL divergence from what it chooses from
    is at most log N - (N - 1) / N.

    Args:
        reward: of clean states or objects.
        particles: N, at least 1.
    """

    reward: Objective
    particles: int = 8
    layer = Layer.FILTER

    def __post_init__(self) -> None:
        """Take functions for rewards; refuse fewer than one particle."""
        object.__setattr__(self, "reward", objective_of(self.reward, "BestOfN"))
        if self.particles < 1:
            raise ValueError(f"particles must be at least 1, got {self.particles}")

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return (self.reward,)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """A filter around it would weigh the one particle that is left."""
        if any(Fact.WEIGHTS in member.provides for member in members[members.index(self) + 1 :]):
            raise GuidanceError(
                'BestOfN chooses among weighted particles: write chain(FKSteering(output="all"), BestOfN)'
            )

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`."""
        rewards = population.score(self.reward).view(population.groups, population.particles)
        best = population.select(rewards.argmax(1, keepdim=True))
        return best.weighted(best.log_weights.new_zeros(best.log_weights.shape))
