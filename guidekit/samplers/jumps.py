"""Samplers that follow the rates of the time-reversed Markov chain: Euler, tau-leaping, predictor-corrector."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.random import Draw
from guidekit.core.kernels import CategoricalKernel, JumpKernel, Kernel
from guidekit.core.population import Population
from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.prior import Prior
from guidekit.processes import DiscreteProcess, GaussianProcess
from guidekit.samplers.base import Sampler


class RateSampler(Sampler):
    """Base of samplers that follow rates, which chains in discrete time do not have."""

    processes = (DiscreteProcess,)

    @classmethod
    def fits(cls, process: GaussianProcess | DiscreteProcess) -> bool:
        """See `Sampler.fits`."""
        return super().fits(process) and process.has_rates


@dataclasses.dataclass(frozen=True)
class Jumps(RateSampler):
    """Euler steps of the reversed chain: a token jumps to y with probability R(y) (t - u); error of first order.

    With stochasticity eta > 0 tokens also jump at the rates of the noise and back, which leaves the law at every time
    as it is and lets revealed tokens be revised. The last step samples clean tokens from the prediction.

    Args:
        stochasticity: eta, rate at which a token is noised again, per unit of time.

    Source: Campbell et al. 2022, arXiv:2205.14987, section 4.3; with eta Campbell et al. 2024, arXiv:2402.04997,
    prop. 3.3 (discrete flow matching; their time is 1 - t).
    """

    stochasticity: float = 0.0
    changes = (*Sampler.changes, "rates")

    def __post_init__(self) -> None:
        """Refuse a negative rate."""
        if self.stochasticity < 0:
            raise ValueError(f"stochasticity={self.stochasticity}; a rate is at least 0")

    def propose(self, population: Population, t: float, u: float) -> Kernel:
        """See `Sampler.propose`."""
        process, prediction = population.run.prior.process, population.predict(t)
        if u == 0:
            return process.reverse_kernel(prediction, t, u)
        rates = process.reverse_rates(prediction, t)
        if not self.stochasticity:
            return JumpKernel(rates, t - u, prediction)
        scale = self.stochasticity / process.hazard(t)
        return JumpKernel((1 + scale) * rates, t - u, prediction, scale * process.rates_from(prediction.z, t))


@dataclasses.dataclass(frozen=True)
class TauLeaping(RateSampler):
    """Poisson numbers of jumps with rates frozen over a step.

    Args:
        ordinal: ids are positions on a scale: the offsets of all jumps of a token add up (cut off at the ends).
            Otherwise a token with more than one jump stays where it is, as there is no meaning to their sum.

    Source: Campbell et al. 2022, arXiv:2205.14987, section 4.3.
    """

    ordinal: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """Sums of jumps have no table."""
        return () if self.ordinal else Sampler.changes

    def propose(self, population: Population, t: float, u: float) -> Kernel:
        """See `Sampler.propose`."""
        process, prediction = population.run.prior.process, population.predict(t)
        if u == 0:
            return process.reverse_kernel(prediction, t, u)
        counts = process.reverse_rates(prediction, t) * (t - u)
        if self.ordinal:
            return PoissonKernel(counts, prediction)
        # One jump in all, to y: counts(y) exp(-sum counts).
        jumps = counts * (-counts.sum(-1, keepdim=True)).exp()
        stay = 1 - jumps.sum(-1, keepdim=True)
        return CategoricalKernel(jumps.scatter(-1, prediction.z[..., None], stay).log(), prediction)


@dataclasses.dataclass(frozen=True)
class PoissonKernel:
    """Tokens on a scale move by the sum of a Poisson number of offsets.

    Args:
        counts: (B, L, C) expected number of jumps to each id.
        prediction: the belief it was made from.
    """

    counts: Tensor
    prediction: CategoricalPrediction
    deterministic = False

    def sample(self, draw: Draw) -> Tensor:
        """One next sequence a row, (B, L) int64."""
        z, size = self.prediction.z, self.counts.shape[-1]
        number = poisson(self.counts, draw.uniform(self.counts.shape))
        offset = torch.arange(size, device=z.device) - z[..., None]
        return (z + (number * offset).sum(-1)).clamp(0, size - 1)

    def log_prob(self, z: Tensor) -> Tensor:
        """There is no closed form."""
        raise ValueError("ordinal tau-leaping has no tractable probabilities: use sampler=jumps or sampler=ancestral")

    def memory(self, state: Tensor) -> dict[str, Tensor]:
        """Nothing to remember."""
        return {}


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


@dataclasses.dataclass(frozen=True)
class PredictorCorrector(Jumps):
    """`Jumps`, each followed by corrector steps at the time reached.

    A corrector jumps with the rates of the noise and of its reversal together, which leaves the law at that time as it
    is; it repairs what the predictor got wrong.

    Args:
        corrections: corrector steps after each predictor step, one network call each.
        scale: length of a corrector step, in predictor steps.

    Source: Campbell et al. 2022, arXiv:2205.14987, section 4.4.
    """

    corrections: int = 1
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        super().__post_init__()
        if self.corrections < 0 or self.scale <= 0:
            raise ValueError(f"corrections={self.corrections}, scale={self.scale}: at least 0, and above 0")

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """The process' grid with every inner time repeated: a step from t to t is a corrector."""
        times = prior.process.grid(steps)
        inner = [t for t in times[1:-1] for _ in range(self.corrections + 1)]
        return [times[0], *inner, times[-1]]

    def propose(self, population: Population, t: float, u: float) -> Kernel:
        """See `Sampler.propose`."""
        if t != u:
            return super().propose(population, t, u)
        process, prediction = population.run.prior.process, population.predict(t)
        steps = (len(population.run.grid) - 2) / (self.corrections + 1) + 1
        rates, noise = process.reverse_rates(prediction, t), process.rates_from(prediction.z, t)
        return JumpKernel(rates, self.scale / steps, prediction, noise)
