"""Fixtures shared by all tests: Chain A, whose every number is known by enumeration."""

import dataclasses

import pytest
import torch
from torch import Tensor

import guidekit as gk
from guidekit.guidance.values import Estimate

torch.set_num_threads(1)  # tests run on tensors too small to share between cores


@dataclasses.dataclass(frozen=True)
class ChainA:
    """Two tokens of three letters under a masked process on four ancestral steps."""

    prior: gk.priors.CategoricalChain
    rewards: Tensor
    grid: list[float]

    @property
    def reward(self):
        return gk.objectives.TableReward(self.rewards)

    @property
    def law(self) -> Tensor:
        """Law of the four-step sampler: it differs from the data's."""
        return self.prior.sampler_law(self.grid)

    @property
    def tilted(self) -> Tensor:
        weights = self.law * self.rewards.exp()
        return weights / weights.sum()

    @property
    def normalizer(self) -> float:
        return float((self.law * self.rewards.exp()).sum())

    def exact_value(self):
        """The soft value at temperature 1, by enumeration."""
        tables = dict(zip(self.grid, self.prior.soft_values(self.rewards, self.grid), strict=True))
        return Computed(self.reward, lambda p: tables[p.moment.t][tuple(p.state.unbind(1))])

    def expected_reward(self):
        """E[r] under the product of the predicted marginals, the intermediate reward of the published figures."""

        def value(population):
            if population.moment.t == 0:
                return population.score(self.reward)
            probs = population.predict().probs
            return torch.einsum("bi,bj,ij->b", probs[:, 0], probs[:, 1], self.rewards)

        return Computed(self.reward, value)


@dataclasses.dataclass(frozen=True, eq=False)
class Computed(Estimate):
    """An estimate from a function of the population, at a temperature of 1."""

    reward: object
    function: object
    temperature = 1.0

    @property
    def objectives(self):
        return (self.reward,)

    def value(self, population):
        return self.function(population)


@pytest.fixture
def chain_a() -> ChainA:
    probabilities = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
    rewards = torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, -1]], dtype=torch.float64)
    return ChainA(
        gk.priors.CategoricalChain(probabilities, gk.processes.Masked()), rewards, [1.0, 0.75, 0.5, 0.25, 0.0]
    )
