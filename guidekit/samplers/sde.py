"""Stochastic samplers of real-valued states: reverse SDE, churn, Langevin corrections."""

from __future__ import annotations

import dataclasses
import functools
import math

from guidekit.core.kernels import GaussianKernel
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.processes import GaussianProcess
from guidekit.samplers.ancestral import Ancestral
from guidekit.samplers.base import TimedSampler
from guidekit.samplers.ode import heun_step


@dataclasses.dataclass(frozen=True)
class EulerMaruyama(TimedSampler):
    """Euler-Maruyama steps of the reverse SDE in the flow variable tau; error of first order, one network call a step.

    x_u = x + d [a' x0 + s' eps + noise (s' - s a' / a) eps] + sqrt(2 noise s (s' - s a' / a) |d|) z with d the step in
    tau and primes the derivatives in it. The marginals are the same for every `noise` >= 0: 0 is `Euler`, 1 the
    reversal of the forward SDE. The step to a clean state is the prediction itself; where no signal is left (a = 0) the
    rates are infinite, and the step is that of `Ancestral`.

    Args:
        noise: strength of the noise, in units of that of the forward SDE.

    Raises:
        ValueError: a negative noise.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 6; with a strength Karras et al. 2022, arXiv:2206.00364, eq. 6.
    """

    noise: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a negative noise."""
        super().__post_init__()
        if not self.noise >= 0:
            raise ValueError(f"noise={self.noise}; a number of at least 0 is needed")

    def propose(self, population: Population, t: float, u: float) -> GaussianKernel:
        """See `Sampler.propose`."""
        process, prediction = population.run.prior.process, population.predict(t)
        a, s = prediction.a, prediction.s
        if process.coefficients(u)[1] == 0:
            return GaussianKernel(process.coefficients(u)[0] * prediction.mean, 0.0, prediction)
        if a < 1e-6:
            return process.reverse_kernel(prediction, t, u)
        tau, da, ds = process.schedule.flow(a, s)
        step = process.tau(u) - tau
        rate = self.noise * (ds - s * da / a)
        mean = prediction.x + step * (da * prediction.mean + (ds + rate) * prediction.noise)
        return GaussianKernel(mean, math.sqrt(2 * rate * s * abs(step)), prediction)


@dataclasses.dataclass(frozen=True)
class StochasticHeun(TimedSampler):
    """Heun steps along the probability flow, with noise added back before each of them.

    Before a step at level sigma = s / a in [low, high], noise lifts it to sigma (1 + min(churn / steps, sqrt 2 - 1)),
    at most to the process' largest level. The grid of a run has the lifted times, and the noise is part of the
    transition before them, so that a particle filter or a search sees it. churn = 0 is `Heun`. Two calls a step.

    Args:
        churn: S_churn, in units of steps.
        low, high: S_min and S_max, levels s / a between which noise is added.
        noise: S_noise, factor of the added noise.

    Raises:
        ValueError: a negative number, or low above high.

    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2 (their ImageNet setting: 40, .05, 50, 1.003).
    """

    churn: float = 40.0
    low: float = 0.05
    high: float = 50.0
    noise: float = 1.003

    def __post_init__(self) -> None:
        """Refuse negative settings."""
        super().__post_init__()
        if not (self.churn >= 0 and self.noise >= 0 and 0 <= self.low <= self.high):
            raise ValueError(
                f"churn={self.churn}, low={self.low}, high={self.high}, noise={self.noise}: none is negative, and low "
                "is at most high"
            )

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """See `Sampler.grid`: the lifted times."""
        plain = super().grid(prior, steps)
        return [self._lifted(prior.process, t, len(plain) - 1) for t in plain]

    def _lifted(self, process: GaussianProcess, t: float, steps: int) -> float:
        level = process.level(t)
        gain = min(self.churn / steps, math.sqrt(2) - 1)
        if not (self.low <= level <= self.high and gain and level):
            return t
        return process.at_level(level * (1 + gain))

    def propose(self, population: Population, t: float, u: float) -> GaussianKernel:
        """See `Sampler.propose`."""
        run, prediction = population.run, population.predict(t)
        process = run.prior.process
        target = _plain_times(self, process, run.steps).get(u, u)
        x = heun_step(population, prediction, t, target)
        (a, s), (b, r) = process.coefficients(target), process.coefficients(u)
        if target == u:
            return GaussianKernel(x, 0.0, prediction)
        std = self.noise * math.sqrt(max(r * r - (b * s / a) ** 2, 0.0))
        return GaussianKernel(x * (b / a), std, prediction)


@functools.lru_cache(maxsize=16)
def _plain_times(sampler: StochasticHeun, process: GaussianProcess, steps: int) -> dict[float, float]:
    """The times before they were lifted, by the lifted ones."""
    from guidekit.processes.grids import times_of

    plain = times_of(sampler.times, process, steps)
    return {sampler._lifted(process, t, len(plain) - 1): t for t in plain}


@dataclasses.dataclass(frozen=True)
class Langevin(Ancestral):
    """Ancestral steps, each followed by Langevin steps at the time reached, which repair what the step got wrong.

    A correction is x + e score + sqrt(2 e) z with e = 2 (a snr s)^2. The authors have |z| / |score| in place of s, from
    means over the batch; s is its value for pure noise, and depends on no state, so that the law stays as it is in the
    limit of small steps.

    Args:
        corrections: Langevin steps after each step, one network call each.
        snr: r, ratio of the step's signal to its noise.

    Raises:
        ValueError: a negative number.

    Source: Song et al. 2021, arXiv:2011.13456, algorithms 4 and 5 (.16 for images and variance-exploding noise).
    """

    corrections: int = 1
    snr: float = 0.16
    processes = (GaussianProcess,)

    def __post_init__(self) -> None:
        """Refuse negative settings."""
        super().__post_init__()
        if self.corrections < 0 or not self.snr > 0:
            raise ValueError(f"corrections={self.corrections}, snr={self.snr}: at least 0, and above 0")

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """The grid with every inner time repeated: a step from t to t is a correction."""
        times = super().grid(prior, steps)
        inner = [t for t in times[1:-1] for _ in range(self.corrections + 1)]
        return [times[0], *inner, times[-1]]

    def propose(self, population: Population, t: float, u: float) -> GaussianKernel:
        """See `Sampler.propose`."""
        if t != u:
            return super().propose(population, t, u)
        prediction = population.predict(t)
        step = 2 * (prediction.a * self.snr * prediction.s) ** 2
        return GaussianKernel(prediction.x + step * prediction.score, math.sqrt(2 * step), prediction)
