"""Learned energies of noisy states: the soft value of one temperature, by contrast between noised siblings."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from guidekit.core.objective import Objective
from guidekit.core.prior import Prior, Time
from guidekit.guidance.values.learned import check_inputs, inputs
from guidekit.processes import DiscreteProcess, GaussianProcess
from guidekit.registry import register


@register("tool", "learned_energy")
@dataclasses.dataclass(frozen=True, eq=False)
class LearnedEnergy(Objective[None]):
    """f(x, t) = log E[exp(r(x_0) / temperature) | x_t] up to a function of t, in nats, differentiable in x.

    The gradient is that of the exact intermediate energy, and so is the ratio between particles at one time, which is
    all that guidance and filters look at; the value by itself means nothing.

    Args:
        network: (states, level (B,)) -> (B, 1), see `ValueNetwork`.
        process: that the states it was trained on were noised by.
        temperature: in the unit of the reward; it was trained for this one alone.

    Source: Lu et al. 2023, arXiv:2304.12824, eq. 12.
    """

    network: nn.Module
    process: GaussianProcess | DiscreteProcess
    temperature: float
    on = "noisy"
    differentiable = True

    def scores(self, states: Tensor, t: Time, rows: None) -> Tensor:
        """Energies (B,) of noisy states at t (number or (B,))."""
        return self.network(*inputs(self.process, states, t))[:, 0].double()

    def relaxed(self, laws: Tensor, t: Time) -> Tensor:
        """Energies (B,) of laws of ids (B, L, C), for first-order edits."""
        return self.scores(laws, t, None)

    def check(self, prior: Prior) -> None:
        """See `check_inputs`."""
        check_inputs("energy", self.network, self.process, prior)
