"""Estimates of the value of noisy states, in nats: what searches and filters look at."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.random import Draw
from guidekit.core.requirements import GuidanceError
from guidekit.core.state import cat
from guidekit.guidance.values.energy import LearnedEnergy
from guidekit.guidance.values.learned import LearnedValue
from guidekit.objectives.reward import objective_of
from guidekit.registry import register

FINEST = 0.01
"""Least temperature of a learned value, in units of the reward: its law has no finer bins to offer."""


class Estimate:
    """Base: the value of every particle here and now, reward / temperature at t = 0."""

    temperature: float

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What it looks at."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement objectives")

    @property
    def requires(self) -> frozenset[Fact]:
        """What it needs of a run."""
        return frozenset()

    def value(self, population: Population) -> Tensor:
        """(B,) float64, nats."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement value(population)")


@register("estimate", "posterior_mean")
@dataclasses.dataclass(frozen=True, eq=False)
class PosteriorMean(Estimate):
    """Reward of the clean estimate: of E[x_0 | x_t], or of the most probable token at every position.

    Biased for t > 0, since the reward of a mean is not the mean of a reward.

    Args:
        reward: to be increased.
        temperature: in its unit; None is that of the search or filter which asks, and 1 by itself.

    Source: Li et al. 2024, arXiv:2408.08252 (SVDD-PM).
    """

    reward: Objective
    temperature: float | None = None  # type: ignore[assignment]  # `estimate_of` fills it in

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """See `Estimate.objectives`."""
        return (self.reward,)

    def value(self, population: Population) -> Tensor:
        """See `Estimate.value`."""
        return self.nats(population.score(self.reward))

    def nats(self, rewards: Tensor) -> Tensor:
        """Rewards over the temperature."""
        return rewards if self.temperature is None else rewards / self.temperature


@register("estimate", "relaxed")
@dataclasses.dataclass(frozen=True, eq=False)
class Relaxed(PosteriorMean):
    """Relaxed reward of the predicted laws of all tokens: what independent tokens of these laws are worth.

    Less noisy than the reward of the most probable tokens where no token is certain yet, and no network call more. A
    reward of tokens and of real numbers (`of_numbers`) judges the clean estimate of the latter.

    Args:
        reward: has `relaxed(probabilities (B, L, V)) -> (B,)`.
        temperature: see `PosteriorMean`.
    """

    @property
    def requires(self) -> frozenset[Fact]:
        """Laws of tokens, unless the reward takes numbers, too."""
        return frozenset() if getattr(self.reward, "of_numbers", False) else frozenset({Fact.TOKENS})

    def value(self, population: Population) -> Tensor:
        """See `Estimate.value`."""
        if population.moment.t == 0 or Fact.TOKENS not in population.setup.prior.provides:
            return super().value(population)
        population.setup.network.ledger.count(value_calls=len(population))
        return self.nats(self.reward.relaxed(population.predict().probs).double())  # type: ignore[attr-defined]


@register("estimate", "monte_carlo")
@dataclasses.dataclass(frozen=True, eq=False)
class MonteCarlo(PosteriorMean):
    """Soft value log mean exp(reward / temperature) over draws of x_0 from the predicted laws of tokens.

    Consistent for a prediction whose tokens are independent; costs no network call. Draws that decode to nothing count
    as exp(-inf) = 0, so a state is worth more the likelier it ends in a valid object.

    Args:
        reward: to be increased.
        temperature: see `PosteriorMean`; above 0.
        draws: x_0 samples a state.

    Source: Singhal et al. 2025, arXiv:2501.06848, section 3 (several x_0 draws); soft value of Uehara et al. 2025,
    arXiv:2501.09685.
    """

    draws: int = 4

    @property
    def requires(self) -> frozenset[Fact]:
        """Laws of tokens to draw from."""
        return frozenset({Fact.TOKENS})

    def value(self, population: Population) -> Tensor:
        """See `Estimate.value`."""
        if population.moment.t == 0:
            return super().value(population)
        prediction = population.predict()
        draw = Draw(population.setup.random, population.key, "value")
        drawn = [prediction.sample(draw.named(str(i))) for i in range(self.draws)]
        # One state's draws are consecutive rows, as `score_of` wants them.
        rows = torch.arange(self.draws * len(population), device=population.device)
        clean = cat(drawn)[rows.view(self.draws, -1).T.flatten()]
        rewards = population.score_of(self.reward, clean, population.time).double()
        soft = torch.logsumexp(self.nats(rewards.view(-1, self.draws)), 1)
        return soft - math.log(self.draws)


@dataclasses.dataclass(frozen=True, eq=False)
class NoisyValue(Estimate):
    """A value of noisy states, and the reward itself at t = 0.

    Args:
        reward: to be increased.
        noisy: of noisy states, nats.
        temperature: in the unit of the reward.
    """

    reward: Objective
    noisy: Objective
    temperature: float = 1.0

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """See `Estimate.objectives`."""
        return (self.reward, self.noisy)

    def value(self, population: Population) -> Tensor:
        """See `Estimate.value`."""
        if population.moment.t == 0:
            return population.score(self.reward) / self.temperature
        population.setup.network.ledger.count(value_calls=len(population))
        return population.score(self.noisy)


def estimate_of(
    who: str, reward: Any, value: Any = None, temperature: float | None = None, usual: float = 1.0
) -> Estimate:
    """What a search or filter takes for the value of a noisy state.

    Args:
        who: asks, for messages.
        reward: objective, or a function of clean states.
        value: None is the reward of the clean estimate, relaxed where the reward can be; a `LearnedValue` becomes the
            soft value of the temperature; a `LearnedEnergy` has its own; another objective is a value of noisy states
            in the unit of the reward; an `Estimate` is taken as it is, but for a temperature that it leaves open.
        temperature: in the unit of the reward; None is what the reward suggests, or else `usual`.
        usual: see there.

    Raises:
        ValueError: a temperature that is not above 0.
        GuidanceError: something that is no objective.
    """
    if isinstance(value, Estimate) and not (isinstance(value, PosteriorMean) and value.temperature is None):
        return value
    reward = objective_of(reward, who)
    if temperature is None and isinstance(value, LearnedEnergy):
        temperature = value.temperature
    if temperature is None:
        temperature = usual if reward.temperature is None else reward.temperature
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a number above 0, got {temperature!r}")
    if isinstance(value, PosteriorMean):
        return dataclasses.replace(value, temperature=temperature)
    if isinstance(value, LearnedValue):
        warm = max(temperature, FINEST)
        return NoisyValue(reward, (warm / temperature) * value.at(1 / warm), temperature)
    if isinstance(value, LearnedEnergy):
        if not math.isclose(temperature, value.temperature):
            raise GuidanceError(
                f"the energy was learned for temperature={value.temperature:g}, and {who} is asked for {temperature:g}"
            )
        return NoisyValue(reward, value, temperature)
    if value is not None:
        noisy = objective_of(value, who, "a value of noisy states")
        if noisy.on != "noisy":
            raise GuidanceError(
                f"{who} needs a value of noisy states; {noisy.name} looks at {noisy.on} ones: use reward="
            )
        return NoisyValue(reward, (1 / temperature) * noisy, temperature)
    relaxes = reward.differentiable and hasattr(reward, "relaxed")
    return Relaxed(reward, temperature) if relaxes else PosteriorMean(reward, temperature)
