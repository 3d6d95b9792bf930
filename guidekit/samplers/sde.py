"""Stochastic samplers of real-valued states: reverse SDE, churn, Langevin corrections."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

from guidekit.core.kernel import GaussianKernel
from guidekit.core.prior import Prior
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here, TimedSampler, at_least
from guidekit.samplers.ode import euler_step, heun_step

SILENT = 1e-6
"""Signal a below which nothing is left of it: the rates of the reverse SDE are infinite there."""


@register("sampler", "euler_maruyama")
@dataclasses.dataclass(frozen=True, eq=False)
class EulerMaruyama(TimedSampler[None]):
    """Euler-Maruyama steps of the reverse SDE in the flow variable tau; error of first order, one network call a step.

    x_u = x + d [a' x0 + s' eps + noise (s' - s a' / a) eps] + sqrt(2 noise s (s' - s a' / a) |d|) z with d the step in
    tau and primes the derivatives in it. The marginals are the same for every `noise` >= 0: 0 is `Euler`, 1 the
    reversal of the forward SDE. The step to a clean state is the prediction itself; where no signal is left (a = 0) the
    rates of a noise above 0 are infinite, and the step is that of `Ancestral`.

    Args:
        noise: strength of the noise, at least 0, in units of that of the forward SDE.
        times: see `TimedSampler`.

    Raises:
        ValueError: a noise below 0, or none.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 6; with a strength Karras et al. 2022, arXiv:2206.00364, eq. 6.
    """

    noise: float = 1.0
    requires = frozenset({Fact.FLOW})

    def __post_init__(self) -> None:
        """Check noise and grid."""
        super().__post_init__()
        at_least(self.noise, 0, "noise")

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """Noise, unless its strength is 0."""
        return frozenset({Fact.NOISE, Fact.ESTIMATE} if self.noise > 0 else {Fact.ESTIMATE})

    def step(self, here: Here, memory: None) -> tuple[GaussianKernel, None]:
        """See `Sampler.step`."""
        process, prediction, t, u = here.process, here.prediction, here.step.t, here.step.u
        a, s = process.coefficients(t)
        if self.noise == 0 or process.coefficients(u)[1] == 0:
            return GaussianKernel(euler_step(here, u), 0.0, prediction.support), None
        if a < SILENT:
            return process.reverse_kernel(prediction, t, u), None
        tau, da, ds = process.schedule.flow(a, s)
        step = process.tau(u) - tau
        rate = self.noise * (ds - s * da / a)
        mean = prediction.x + step * (da * prediction.mean + (ds + rate) * prediction.noise)
        return GaussianKernel(mean, math.sqrt(2 * rate * s * abs(step)), prediction.support), None


@register("sampler", "stochastic_heun")
@dataclasses.dataclass(frozen=True, eq=False)
class StochasticHeun(TimedSampler[None]):
    """Heun steps along the probability flow, with noise added back before each of them.

    Before a step at level sigma = s / a in [low, high], noise lifts it to sigma (1 + min(churn / steps, sqrt 2 - 1)),
    at most to the process' largest level. The grid of a run has the lifted times, and the noise is part of the
    transition before them, so that a particle filter or a search sees it. churn = 0 is `Heun`. Two calls a step.

    Args:
        churn: S_churn, in units of steps.
        low, high: S_min and S_max, levels s / a between which noise is added; high may be infinite.
        noise: S_noise, factor of the added noise.
        times: see `TimedSampler`; the times before they are lifted.

    Raises:
        ValueError: a number below 0, or low above high.

    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2 (their ImageNet setting: 40, .05, 50, 1.003).
    """

    churn: float = 40.0
    low: float = 0.05
    high: float = 50.0
    noise: float = 1.003
    requires = frozenset({Fact.FLOW})

    def __post_init__(self) -> None:
        """Check settings and grid."""
        super().__post_init__()
        for name in ("churn", "low", "noise"):
            at_least(getattr(self, name), 0, name)
        if not self.low <= self.high:
            raise ValueError(f"low must be at most high, got low={self.low}, high={self.high}")

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """Noise, unless nothing is lifted or nothing added."""
        return frozenset({Fact.NOISE}) if self.churn > 0 and self.noise > 0 else frozenset()

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """See `Sampler.grid`: the lifted times."""
        plain = super().grid(prior, steps)
        return [self.lifted(prior.process, t, len(plain) - 1) for t in plain]

    def lifted(self, process: Any, t: float, steps: int) -> float:
        """The time to which noise lifts t, on a grid of so many steps."""
        level = process.level(t)
        gain = min(self.churn / steps, math.sqrt(2) - 1)
        return process.at_level(level * (1 + gain)) if self.low <= level <= self.high and gain and level else t

    def step(self, here: Here, memory: None) -> tuple[GaussianKernel, None]:
        """See `Sampler.step`."""
        process, u, support = here.process, here.step.u, here.prediction.support
        target = _plain_times(self, process, here.steps[-1].end.index).get(u, u)
        x = heun_step(here, target)
        if target == u:
            return GaussianKernel(x, 0.0, support), None
        (a, s), (b, r) = process.coefficients(target), process.coefficients(u)
        std = self.noise * math.sqrt(max(r * r - (b * s / a) ** 2, 0.0))
        return GaussianKernel(x * (b / a), std, support), None


@functools.lru_cache(maxsize=16)
def _plain_times(sampler: StochasticHeun, process: Any, steps: int) -> dict[float, float]:
    """The times before they were lifted, by the lifted ones."""
    return {sampler.lifted(process, t, steps): t for t in sampler.plain(process, steps)}


@register("sampler", "langevin")
@dataclasses.dataclass(frozen=True, eq=False)
class Langevin(TimedSampler[None]):
    """Ancestral steps, each followed by Langevin steps at the time reached, which repair what the step got wrong.

    A correction is x + e score + sqrt(2 e) z with e = 2 (a snr s)^2. The authors have |z| / |score| in place of s, from
    means over the batch; s is its value for pure noise, and depends on no state, so that the law stays as it is in the
    limit of small steps.

    Args:
        corrections: Langevin steps after each step, one network call each.
        snr: ratio of the step's signal to its noise, above 0.
        times: see `TimedSampler`.

    Raises:
        ValueError: a number out of range.

    Source: Song et al. 2021, arXiv:2011.13456, algorithms 4 and 5 (.16 for images and variance-exploding noise).
    """

    corrections: int = 1
    snr: float = 0.16
    requires = frozenset({Fact.FLOW})
    provides = frozenset({Fact.NOISE})

    def __post_init__(self) -> None:
        """Check settings and grid."""
        super().__post_init__()
        at_least(self.corrections, 0, "corrections")
        at_least(self.snr, 0, "snr")
        if self.corrections != int(self.corrections) or self.snr == 0:
            raise ValueError(f"corrections={self.corrections}, snr={self.snr}: a whole number, and one above 0")

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """The grid with every inner time repeated: a step from t to t is a correction."""
        times = super().grid(prior, steps)
        inner = [t for t in times[1:-1] for _ in range(self.corrections + 1)]
        return [times[0], *inner, times[-1]]

    def step(self, here: Here, memory: None) -> tuple[GaussianKernel, None]:
        """See `Sampler.step`."""
        prediction, t, u = here.prediction, here.step.t, here.step.u
        if t != u:
            return here.process.reverse_kernel(prediction, t, u), None
        a, s = here.process.coefficients(t)
        length = 2 * (a * self.snr * s) ** 2
        mean = prediction.x + length * prediction.score
        return GaussianKernel(mean, math.sqrt(2 * length), prediction.support), None


__all__ = ["EulerMaruyama", "Langevin", "StochasticHeun"]
