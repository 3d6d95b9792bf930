"""Samplers that follow the rates of the time-reversed Markov chain: Euler, tau-leaping, predictor-corrector."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.kernel import Kernel
from guidekit.core.prior import Prior
from guidekit.core.random import Draw
from guidekit.core.token_kernels import CategoricalKernel, JumpKernel, TokenKernel
from guidekit.registry import register
from guidekit.samplers.base import TOKEN_LAWS, Fact, Here, TimedSampler, at_least


@register("sampler", "euler_ctmc")
@dataclasses.dataclass(frozen=True, eq=False)
class EulerCTMC(TimedSampler[None]):
    """Euler steps of the reversed chain: a token jumps to y with probability R(y) (t - u); error of first order.

    With stochasticity eta > 0 tokens also jump at the rates of the noise and back, which leaves the law at every time
    as it is and lets revealed tokens be revised. The last step samples clean tokens from the prediction.

    Args:
        stochasticity: eta, rate at which a token is noised again, per unit of time.
        times: see `TimedSampler`.

    Raises:
        ValueError: a stochasticity below 0.

    Source: Campbell et al. 2022, arXiv:2205.14987, section 4.3; with eta Campbell et al. 2024, arXiv:2402.04997,
    prop. 3.3 (discrete flow matching; their time is 1 - t).
    """

    stochasticity: float = 0.0
    requires = frozenset({Fact.RATES})
    provides = frozenset({Fact.NOISE, Fact.RATE_STEPS, Fact.ESTIMATE, Fact.REVERSAL}) | TOKEN_LAWS

    def __post_init__(self) -> None:
        """Check the rate and the grid."""
        super().__post_init__()
        at_least(self.stochasticity, 0, "stochasticity")

    def step(self, here: Here, memory: None) -> tuple[Kernel, None]:
        """See `Sampler.step`."""
        process, prediction, (t, u) = here.process, here.prediction, (here.step.t, here.step.u)
        if u == 0:
            return process.reverse_kernel(prediction, t, u), None
        rates, z = process.reverse_rates(prediction, t), prediction.z
        if not self.stochasticity:
            return JumpKernel(rates, t - u, z), None
        churn = self.stochasticity / process.hazard(t)
        return JumpKernel((1 + churn) * rates, t - u, z, churn * process.rates_from(z, t), 1 / (1 + churn)), None


@register("sampler", "tau_leaping")
@dataclasses.dataclass(frozen=True, eq=False)
class TauLeaping(TimedSampler[None]):
    """Poisson numbers of jumps with rates frozen over a step.

    Args:
        ordinal: ids are positions on a scale: the offsets of all jumps of a token add up (cut off at the ends).
            Otherwise a token with more than one jump stays where it is, as there is no meaning to their sum.
        times: see `TimedSampler`.

    Source: Campbell et al. 2022, arXiv:2205.14987, section 4.3.
    """

    ordinal: bool = False
    requires = frozenset({Fact.RATES})

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """Sums of jumps have no table."""
        return frozenset({Fact.NOISE, Fact.ESTIMATE}) | (frozenset() if self.ordinal else TOKEN_LAWS | {Fact.REVERSAL})

    def step(self, here: Here, memory: None) -> tuple[Kernel, None]:
        """See `Sampler.step`."""
        process, prediction, (t, u) = here.process, here.prediction, (here.step.t, here.step.u)
        if u == 0:
            return process.reverse_kernel(prediction, t, u), None
        counts, z = process.reverse_rates(prediction, t) * (t - u), prediction.z
        if self.ordinal:
            return PoissonKernel(counts, z), None
        # One jump in all, to y: counts(y) exp(-sum counts).
        jumps = counts * (-counts.sum(-1, keepdim=True)).exp()
        stay = 1 - jumps.sum(-1, keepdim=True)
        return CategoricalKernel(jumps.scatter(-1, z[..., None], stay).log(), z), None


@dataclasses.dataclass(frozen=True)
class PoissonKernel(TokenKernel):
    """Tokens on a scale move by the sum of a Poisson number of offsets.

    Args:
        counts: (B, L, C) expected number of jumps to each id.
        z: present tokens (B, L).
    """

    counts: Tensor
    z: Tensor

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        size = self.counts.shape[-1]
        number = poisson(self.counts, draw.uniform(*self.counts.shape))
        offset = torch.arange(size, device=self.z.device) - self.z[..., None]
        return (self.z + (number * offset).sum(-1)).clamp(0, size - 1)


def poisson(mean: Tensor, u: Tensor, most: int = 64) -> Tensor:
    """Poisson numbers by inverse CDF, cut off at `most`; mean and u (uniform on [0, 1)) of one shape."""
    number = torch.zeros_like(u, dtype=torch.long)
    term = (-mean).exp()
    total = term.clone()
    for k in range(1, most + 1):
        above = u >= total
        if not above.any():
            break
        number += above
        term = term * mean / k
        total = total + term
    return number


@register("sampler", "predictor_corrector")
@dataclasses.dataclass(frozen=True, eq=False)
class PredictorCorrector(EulerCTMC):
    """`EulerCTMC`, each step followed by corrector steps at the time reached.

    A corrector jumps with the rates of the noise and of its reversal together, which leaves the law at that time as it
    is; it repairs what the predictor got wrong.

    Args:
        stochasticity, times: see `EulerCTMC`.
        corrections: corrector steps after each predictor step, one network call each.
        scale: length of a corrector step, in predictor steps (their mean).

    Raises:
        ValueError: a negative number, or a scale of 0.

    Source: Campbell et al. 2022, arXiv:2205.14987, section 4.4.
    """

    corrections: int = 1
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        at_least(self.corrections, 0, "corrections")
        at_least(self.scale, 0, "scale")
        if self.scale == 0:
            raise ValueError("scale must be above 0, got 0; for no corrector steps give corrections=0")

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """See `Sampler.grid`, with every inner time repeated: a step from t to t is a corrector."""
        times = super().grid(prior, steps)
        inner = [t for t in times[1:-1] for _ in range(self.corrections + 1)]
        return [times[0], *inner, times[-1]]

    def step(self, here: Here, memory: None) -> tuple[Kernel, None]:
        """See `Sampler.step`."""
        t, prediction = here.step.t, here.prediction
        if t != here.step.u:
            return super().step(here, memory)
        lengths = [step.t - step.u for step in here.steps if step.t != step.u]
        rates, noise = here.process.reverse_rates(prediction, t), here.process.rates_from(prediction.z, t)
        return JumpKernel(rates, self.scale * sum(lengths) / len(lengths), prediction.z, noise, progress=0.0), None
