"""Best-of-N: sample N times, keep the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from guidekit.core.guidance import Guidance
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.objectives.rewards import score


@dataclasses.dataclass(frozen=True)
class BestOfN(Guidance):
    """Keeps the particle with the highest reward of every group; N is the number of particles.

    The baseline every search is to be compared with at equal network calls. Its KL divergence from what it chooses from
    is at most log N - (N - 1) / N.

    Args:
        reward: clean states (B, *S) -> (B,).
        particles: N.
    """

    reward: Callable[..., Tensor]
    particles: int = 8
    reorders = True

    def finish(self, population: Population, run: Run) -> Population:
        """See `Guidance.finish`."""
        rewards = score(self.reward, population.state, run.ledger).view(population.groups, population.particles)
        best = population.select(rewards.argmax(1, keepdim=True))
        return best.weighted(best.log_weights.new_zeros(best.log_weights.shape))
