"""Learned values of noisy states: what the reward will be, as a law over bins, from one small network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from guidekit.core.guidance import GuidanceError
from guidekit.core.population import Population, Time
from guidekit.core.state import column
from guidekit.guidance.values.posterior_mean import PosteriorMean, Relaxed, Value
from guidekit.core.prior import Prior
from guidekit.processes import DiscreteProcess, GaussianProcess


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedValue:
    """f(x, t) = log sum_b p(r(x_0) in bin b | x_t) exp(log_weights_b), in nats, differentiable in x.

    The law of the reward over bins is learned once; what is made of it may change from run to run:
      `at(eta)` weighs bin b by exp(eta c_b): f is the soft value log E exp(eta r(x_0)), eta = 1 / temperature;
      `above(threshold)` asks for the event r(x_0) >= threshold: f is its log-probability, as of a classifier.

    Args:
        network: (states, level (B,)) -> logits (B, K), see `ValueNetwork`.
        process: that the states it was trained on were noised by.
        centres: (K,) reward a bin stands for, -inf for states without one.
        log_weights: (K,); None is `at(1)`.

    Source: Oertell et al. 2025, arXiv:2505.21666, section 4 (law of the reward over bins).
    """

    network: nn.Module
    process: GaussianProcess | DiscreteProcess
    centres: Tensor
    log_weights: Tensor | None = None

    def at(self, eta: float) -> LearnedValue:
        """The soft value of temperature 1 / eta, in the unit of the reward."""
        return dataclasses.replace(self, log_weights=eta * self.centres.double())

    def above(self, threshold: float) -> LearnedValue:
        """The log-probability that the reward is at least a threshold.

        Raises:
            ValueError: the threshold is above all bins.
        """
        chosen = self.centres >= threshold
        if not chosen.any():
            raise ValueError(
                f"above={threshold}; the rewards this value has learned end at {float(self.centres.max())}"
            )
        return dataclasses.replace(self, log_weights=torch.where(chosen, 0.0, -torch.inf).double())

    def log_law(self, x: Tensor, t: Time) -> Tensor:
        """log p(r(x_0) in bin b | x_t), (B, K), for ids (B, L), laws of ids (B, L, C) or real states (B, *S)."""
        t = torch.as_tensor(t, device=x.device, dtype=torch.float32).expand(len(x))
        if isinstance(self.process, DiscreteProcess):
            level = 1 - torch.as_tensor(self.process.survival(t), device=x.device)
        else:  # inputs of about unit size at all times
            a, s = (torch.as_tensor(c, device=x.device).expand(len(x)) for c in self.process.coefficients(t))
            x, level = x / column((a * a + s * s).sqrt(), x), torch.atan2(s, a) / (torch.pi / 2)
        return torch.log_softmax(self.network(x, level.float()), -1)

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        """Value (B,) of noisy states at t (number or (B,))."""
        return self._weigh(self.log_law(x, t))

    def of_features(self, h: Tensor, x: Tensor) -> Tensor:
        """Value (B,) of features h (B, L, width) of the network's trunk at states x."""
        return self._weigh(torch.log_softmax(self.network.read(h, x), -1))

    def _weigh(self, log_law: Tensor) -> Tensor:
        weights = (self.centres if self.log_weights is None else self.log_weights).to(log_law.device)
        return torch.logsumexp(log_law.double() + weights, -1)

    relaxed = __call__
    """Values of laws of ids (B, L, C), for first-order edits."""


@dataclasses.dataclass(frozen=True)
class NoisyValue:
    """A value of noisy states for searches and filters: temperature * value(x_t, t), and the reward itself at t = 0.

    Args:
        reward: clean states (B, *S) -> (B,).
        value: (x, t) -> (B,), nats.
        temperature: that turns nats into the unit of the reward: 1 / eta of `LearnedValue.at(eta)`.
    """

    reward: Callable[..., Tensor]
    value: Callable[..., Tensor]
    temperature: float = 1.0

    def __call__(self, population: Population, t: float) -> Tensor:
        """See `Value`."""
        if t == 0:
            return PosteriorMean(self.reward)(population, t)
        population.run.ledger.value_calls += len(population)
        return self.temperature * self.value(population.state, population.time(t))


def refuse_other_noise(value: object, prior: Prior) -> None:
    """Raise `GuidanceError` where a learned value was trained on other noise than a prior's; others pass."""
    if isinstance(value, LearnedValue) and value.process != prior.process:
        raise GuidanceError(
            f"the value was trained on {value.process}, and this prior ({prior.name}) has {prior.process}"
        )


def value_of(reward: Callable[..., Tensor], value: Value | LearnedValue | None, temperature: float) -> Value:
    """What searches and filters take for the value of a noisy state.

    A learned value becomes the soft value of the temperature (of a hundredth of a unit of the reward at least, as its
    law has no finer bins to offer). None is the reward of the clean estimate, relaxed where the reward can be.
    """
    if isinstance(value, LearnedValue):
        warm = max(temperature, 0.01)
        return NoisyValue(reward, value.at(1 / warm), warm)
    if value is not None:
        return value
    relaxed = getattr(reward, "differentiable", False) and hasattr(reward, "relaxed")
    return Relaxed(reward) if relaxed else PosteriorMean(reward)
