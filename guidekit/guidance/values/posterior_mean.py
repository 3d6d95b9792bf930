"""Values of noisy states: what reward is to be expected from here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.population import Population
from guidekit.core.prediction import CategoricalPrediction
from guidekit.objectives.rewards import score

Value = Callable[[Population, float], Tensor]
"""(population, t) -> value of every particle (P * K,) float64, in the unit of the reward."""


@dataclasses.dataclass(frozen=True)
class PosteriorMean:
    """Reward of the clean estimate: of E[x_0 | x_t], or of the most probable token at every position.

    At t = 0 it is the reward itself. Biased for t > 0, since the reward of a mean is not the mean of a reward.

    Args:
        reward: clean states (B, *S) -> (B,).

    Source: Li et al. 2024, arXiv:2408.08252 (SVDD-PM).
    """

    reward: Callable[..., Tensor]

    def __call__(self, population: Population, t: float) -> Tensor:
        """See `Value`."""
        clean = population.state if t == 0 else population.predict(t).clean
        return score(self.reward, clean, population.run.ledger)


@dataclasses.dataclass(frozen=True)
class Relaxed:
    """Relaxed reward of the predicted laws of all tokens: what independent tokens of these laws are worth.

    Less noisy than the reward of the most probable tokens where no token is certain yet, and no network call more. At
    t = 0 it is the reward itself.

    Args:
        reward: has `relaxed(probabilities (B, L, V)) -> (B,)`.
    """

    reward: Callable[..., Tensor]

    def __call__(self, population: Population, t: float) -> Tensor:
        """See `Value`."""
        if t == 0:
            return score(self.reward, population.state, population.run.ledger)
        population.run.ledger.value_calls += len(population)
        return self.reward.relaxed(population.predict(t).probs).double()


@dataclasses.dataclass(frozen=True)
class MonteCarlo:
    """Soft value alpha log mean exp(reward / alpha) over draws of x_0 from the predicted token marginals.

    Consistent for a prediction whose tokens are independent; costs no network call. Draws that decode to nothing count
    as exp(-inf) = 0, so a state is worth more the likelier it ends in a valid object.

    Args:
        reward: clean tokens (B, L) -> (B,).
        draws: x_0 samples a state.
        alpha: temperature, in the unit of the reward; 0 takes the best draw.

    Source: Singhal et al. 2025, arXiv:2501.06848, section 3 (several x_0 draws); soft value of Uehara et al. 2025,
    arXiv:2501.09685.
    """

    reward: Callable[..., Tensor]
    draws: int = 4
    alpha: float = 0.05

    def __call__(self, population: Population, t: float) -> Tensor:
        """See `Value`."""
        ledger = population.run.ledger
        if t == 0:
            return score(self.reward, population.state, ledger)
        prediction = population.predict(t)
        if not isinstance(prediction, CategoricalPrediction):
            raise ValueError("MonteCarlo draws tokens, and this prior's states are real-valued: use PosteriorMean")
        draw = population.run.draw("value")
        clean = torch.cat([prediction.sample(draw.named(str(i))) for i in range(self.draws)])
        rewards = score(self.reward, clean, ledger).view(self.draws, -1)
        if self.alpha == 0:
            return rewards.amax(0)
        return self.alpha * (torch.logsumexp(rewards / self.alpha, 0) - math.log(self.draws))
