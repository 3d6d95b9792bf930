"""Learned values of noisy states: what the reward will be, as a law over bins, from one small network."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.guidance import GuidanceError
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior, Time
from guidekit.core.requirements import Fact
from guidekit.core.state import column
from guidekit.io.archives import reason
from guidekit.networks.value_network import ValueNetwork
from guidekit.processes import DiscreteProcess, GaussianProcess
from guidekit.registry import register


@register("tool", "learned_value")
@dataclasses.dataclass(frozen=True, eq=False)
class LearnedValue(Objective[None]):
    """f(x, t) = log sum_b p(r(x_0) in bin b | x_t) exp(log_weights_b), in nats, differentiable in x.

    The law of the reward over bins is learned once; what is made of it may change from run to run:
      `at(eta)` weighs bin b by exp(eta c_b): f is the soft value log E exp(eta r(x_0)), eta = 1 / temperature;
      `above(threshold)` asks for the event r(x_0) >= threshold: f is its log-probability, as of a classifier.

    Args:
        network: (states, level (B,)) -> logits (B, K), see `ValueNetwork`.
        process: that the states it was trained on were noised by.
        centers: (K,) reward a bin stands for, -inf for states without one.
        log_weights: (K,); None is `at(1)`.

    Source: Oertell et al. 2025, arXiv:2505.21666, section 4 (law of the reward over bins).
    """

    network: nn.Module
    process: GaussianProcess | DiscreteProcess
    centers: Tensor
    log_weights: Tensor | None = None
    on = "noisy"
    differentiable = True

    def at(self, eta: float) -> LearnedValue:
        """The soft value of temperature 1 / eta, in the unit of the reward."""
        return dataclasses.replace(self, log_weights=eta * self.centers.double())

    def above(self, threshold: float) -> LearnedValue:
        """The log-probability that the reward is at least a threshold.

        Raises:
            ValueError: the threshold is above all bins.
        """
        chosen = self.centers >= threshold
        if not chosen.any():
            raise ValueError(
                f"above={threshold}; the rewards this value has learned end at {float(self.centers.max())}"
            )
        return dataclasses.replace(self, log_weights=torch.where(chosen, 0.0, -torch.inf).double())

    def log_law(self, x: Tensor, t: Time) -> Tensor:
        """log p(r(x_0) in bin b | x_t), (B, K), for ids (B, L), laws of ids (B, L, C) or real states (B, *S)."""
        return torch.log_softmax(self.network(*inputs(self.process, x, t)), -1)

    def scores(self, states: Tensor, t: Time, rows: None) -> Tensor:
        """Value (B,) of noisy states at t (number or (B,))."""
        return self._weigh(self.log_law(states, t))

    def relaxed(self, laws: Tensor, t: Time) -> Tensor:
        """Values (B,) of laws of ids (B, L, C), for first-order edits."""
        return self._weigh(self.log_law(laws, t))

    def check(self, prior: Prior) -> None:
        """Raise `GuidanceError` where it was trained on other noise, or states of another shape, than a prior's."""
        check_inputs("value", self.network, self.process, prior)

    def of_features(self, h: Tensor, x: Tensor) -> Tensor:
        """Value (B,) of features h (B, L, width) of the network's trunk at states x."""
        network: Any = self.network
        return self._weigh(torch.log_softmax(network.read(h, x), -1))

    def _weigh(self, log_law: Tensor) -> Tensor:
        weights = (self.centers if self.log_weights is None else self.log_weights).to(log_law.device)
        return torch.logsumexp(log_law.double() + weights, -1)


def inputs(process: GaussianProcess | DiscreteProcess, x: Tensor, t: Time) -> tuple[Tensor, Tensor]:
    """What a network of values is shown of noisy states (B, *S) at t: states of about unit size, and levels (B,)."""
    t = torch.as_tensor(t, device=x.device, dtype=torch.float32).expand(len(x))
    if isinstance(process, DiscreteProcess):
        return x, (1 - torch.as_tensor(process.alpha(t), device=x.device)).float()
    a, s = (torch.as_tensor(c, device=x.device).expand(len(x)) for c in process.coefficients(t))
    return x / column((a * a + s * s).sqrt(), x), (torch.atan2(s, a) / (torch.pi / 2)).float()


def check_inputs(what: str, network: nn.Module, process: GaussianProcess | DiscreteProcess, prior: Prior) -> None:
    """Raise `GuidanceError` where a network was trained on other noise, or states of another shape, than a prior's."""
    if process != prior.process:
        raise GuidanceError(f"the {what} was trained on {process}, and this prior ({prior.name}) has {prior.process}")
    if Fact.PARTS in prior.provides or not isinstance(network, ValueNetwork):
        return  # what a network of others can read is not known
    shape, tokens = (1, *prior.event_shape), isinstance(process, DiscreteProcess)
    try:
        with torch.no_grad():
            network(*inputs(process, torch.zeros(shape, dtype=torch.int64 if tokens else torch.float32), 0.5))
    except (RuntimeError, ValueError, IndexError) as error:
        raise GuidanceError(
            f"the {what} was not trained on states of this prior ({prior.name}), {tuple(prior.event_shape)}: "
            f"{reason(error)}"
        ) from error
