"""Rates that match the flow of a discrete process in as few jumps as possible."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.kernel import Kernel
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.core.token_kernels import CategoricalKernel, JumpKernel
from guidekit.processes import Structured
from guidekit.processes.grids import times_of
from guidekit.registry import register
from guidekit.samplers.base import TOKEN_LAWS, Fact, Here, TimedSampler, at_least

MOST = 256
"""Ids of tokens for which all jumps between them are looked at."""


@register("sampler", "rate_matching")
@dataclasses.dataclass(frozen=True, eq=False)
class RateMatching(TimedSampler[None]):
    """Discrete flow: tokens jump with the rates that carry q(z_t | x_0) along, averaged over the predicted x_0.

    For a clean token x a token at z jumps to y with rate relu(dq(y) - dq(z)) / (Z q(z)), where dq is the change of
    q(. | x) per time and Z the number of ids that x can become. Unlike the reversed chain it takes no jump that the
    flow does not need, and unlike an absorbing process it takes errors back. The last step takes the most probable
    tokens.

    Args:
        stochasticity: eta, rate of jumps to y in proportion to q(y | x), which leave q as it is.
        times: see `TimedSampler`; None is (1 - i / steps)^2, short steps at the end.

    Raises:
        ValueError: a stochasticity below 0.

    Source: Qin et al. 2024, arXiv:2410.04263 (DeFoG), eq. 4 and appendix B; Campbell et al. 2024, arXiv:2402.04997.
    """

    stochasticity: float = 0.0
    requires = frozenset({Fact.RATES})
    provides = frozenset({Fact.NOISE, Fact.RATE_STEPS, Fact.ESTIMATE, Fact.REVERSAL}) | TOKEN_LAWS

    def __post_init__(self) -> None:
        """Check the rate and the grid."""
        super().__post_init__()
        at_least(self.stochasticity, 0, "stochasticity")

    def check(self, prior: Prior) -> None:
        """See `Sampler.check`."""
        process: Any = prior.process
        if isinstance(process, Structured) or process.states > MOST:
            raise GuidanceError(
                f"rate_matching needs tokens that are lost to one law each, and at most {MOST} ids; this prior "
                f"({prior.name}) has others: use sampler=euler_ctmc"
            )

    def plain(self, process: object, steps: int) -> list[float]:
        """See `TimedSampler.plain`."""
        if self.times is None:
            return [(1 - i / steps) ** 2 for i in range(steps)] + [0.0]
        return times_of(self.times, process, steps)  # type: ignore[arg-type]

    def step(self, here: Here, memory: None) -> tuple[Kernel, None]:
        """See `Sampler.step`."""
        process, prediction, (t, u) = here.process, here.prediction, (here.step.t, here.step.u)
        if u == 0:
            size = process.states
            return CategoricalKernel(
                F.one_hot(prediction.log_probs.argmax(-1), size).double().log(), prediction.z
            ), None
        return JumpKernel(matching_rates(process, prediction, t, self.stochasticity), t - u, prediction.z), None


def matching_rates(process: object, prediction: object, t: float, stochasticity: float = 0.0) -> Tensor:
    """Rates (B, L, C) of jumps at time t, see `RateMatching`; zero at the present tokens."""
    a, slope = float(process.alpha(t)), float(process.alpha.slope(t))  # type: ignore[attr-defined]
    z, size = prediction.z, process.vocab_size  # type: ignore[attr-defined]
    whole = process.transition(t, 0.0)[:size].to(z.device)  # type: ignore[attr-defined]
    kept = torch.eye(*whole.shape, dtype=torch.float64, device=z.device)
    # q = a kept + (1 - a) limit, so that dq / d(-t) = -a' (kept - limit) = -a' (q - limit) / a.
    toward = slope * (kept - (whole - a * kept) / max(1 - a, 1e-12))
    possible = whole > 0
    jumps = (toward[:, None, :] - toward[:, :, None]).relu()  # from the second to the third
    jumps = jumps / (possible.sum(1)[:, None, None] * whole[:, :, None].clamp_min(1e-12))
    if stochasticity:
        jumps = jumps + stochasticity * whole[:, None, :]
    jumps = jumps * possible[:, :, None] * possible[:, None, :]
    table = jumps.movedim(1, 0)  # (from, clean, to)
    probs = prediction.log_probs.double().exp()  # type: ignore[attr-defined]
    rates = torch.einsum("blv,blvc->blc", probs, table[z])
    return rates.scatter(-1, z[..., None], 0.0)


__all__ = ["RateMatching", "matching_rates"]
