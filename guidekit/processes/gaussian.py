"""Gaussian noising x_t = a(t) x_0 + s(t) eps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidekit.core.kernel import GaussianKernel
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.process import Process
from guidekit.core.random import Draw
from guidekit.core.requirements import Fact
from guidekit.core.state import column
from guidekit.core.support import EVERYWHERE, Support
from guidekit.processes.numbers import Number, inverse
from guidekit.processes.schedules import GeometricVE, KarrasVE, LinearFlow, Schedule
from guidekit.processes.schedules import SubVP as SubVPSchedule
from guidekit.processes.tables import TableVP, legacy_betas
from guidekit.processes.variance_preserving import CosineVP, LinearVP, RateVP

LEAST_TIME = 1e-9
"""The time of the least noise of a process that does not end clean."""


@dataclasses.dataclass(frozen=True)
class GaussianProcess(Process):
    """The process of a schedule: the only place where a(t) and s(t) are known.

    Args:
        schedule: t -> (a, s), see `guidekit.processes.schedules`.
    """

    schedule: Schedule
    provides = frozenset({Fact.REAL, Fact.FLOW})

    def coefficients(self, t: Number) -> tuple[Number, Number]:
        """Signal and noise coefficients (a, s) at t in [0, 1]; both shaped like t.

        Raises:
            ValueError: a time outside [0, 1].
        """
        if not (isinstance(t, float) and 0.0 <= t <= 1.0):
            check_time(t)
        return self.schedule(t)

    def noising(self, state: Tensor, t: float, u: float, support: Support = EVERYWHERE) -> GaussianKernel:
        """See `Process.noising`: N(a_u / a_t x, s_u^2 - (a_u / a_t)^2 s_t^2); from t < 1, where a signal is left."""
        (a, s), (b, r) = self.coefficients(t), self.coefficients(u)
        ratio = b / a if a > 0 else 0.0
        return GaussianKernel(ratio * state, math.sqrt(max(r * r - (ratio * s) ** 2, 0.0)), support)

    def flow_space(self, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, beta) of the velocity of the probability flow as alpha x_0 + beta x; see `GaussianPrediction.map`."""
        _, alpha, beta = self.flow(a, s)
        return alpha, beta + torch.zeros_like(a)

    def flow(self, a: Number, s: Number) -> tuple[Number, Number, Number]:
        """(tau, alpha, beta): the flow variable where signal and noise are (a, s), and dx/dtau = alpha x_0 + beta x.

        tau is the angle for variance-preserving processes (v-prediction of Salimans & Ho 2022, arXiv:2202.00512), the
        noise std for variance-exploding ones and t for rectified flow.
        """
        tau, da, ds = self.schedule.flow(a, s)
        beta = ds / s
        return tau, da - beta * a, beta

    def grid(self, steps: int) -> list[float]:
        """`steps` + 1 times from 1 to 0, evenly spaced.

        Where the least noise is above zero it is met one step before the end; in discrete time the nearest index is
        taken, and there are no more steps than indices.
        """
        if self.schedule.steps is not None:
            count = self.schedule.steps
            steps = min(steps, count)
            return [round(count - i * count / steps) / count for i in range(steps)] + [0.0]
        if self.schedule.ends_clean:
            return [1 - i / steps for i in range(steps)] + [0.0]
        last = max(1, steps - 1)
        return [max(1 - i / last, LEAST_TIME) for i in range(steps)] + [0.0]

    def level(self, t: float) -> float:
        """Noise over signal s / a at t, infinite where there is no signal."""
        a, s = self.coefficients(t)
        return s / a if a > 0 else math.inf

    def at_level(self, level: float) -> float:
        """The time in [0, 1] at which s / a has a value; levels beyond the process' own give its first or last time."""
        least = 0.0 if self.schedule.ends_clean else LEAST_TIME
        if level <= self.level(least):
            return least
        return 1.0 if level >= self.level(1.0) else inverse(self.level, level, least)

    def at_tau(self, tau: float) -> float:
        """The time in [0, 1] at which the flow variable has a value; see `velocity`."""
        return inverse(self.tau, tau)

    def sample_limit(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """States of shape (B, *S) at t = 1, from N(0, s(1)^2 I), float64."""
        like = torch.empty(shape, dtype=torch.float64, device=draw.random.device)
        return draw.normal(like) * self.coefficients(1.0)[1]

    def restart(self, state: Tensor, t: float) -> Tensor:
        """States from the limit law turned into states to start from at t < 1: the noise there is s(t)."""
        return state * (self.coefficients(t)[1] / self.coefficients(1.0)[1])

    def noise(self, x0: Tensor, t: Number, eps: Tensor) -> Tensor:
        """Noisy states a x_0 + s eps; x0 and eps (B, *S), t number or (B,)."""
        a, s = self.coefficients(t)
        return column(a, x0) * x0 + column(s, x0) * eps

    def prediction(self, mean: Tensor, x: Tensor, t: Number) -> GaussianPrediction:
        """The prediction with posterior mean `mean` (B, *S) at state x and time t."""
        a, s = self.coefficients(t)
        return GaussianPrediction(mean, x, a, s)

    def reverse_kernel(self, prediction: GaussianPrediction, t: Number, u: Number, eta: float = 1.0) -> GaussianKernel:
        """Law of x_u given x_t and the posterior mean.

        mean = a_u x0 + sqrt(s_u^2 - k^2) eps with k = eta * std of q(x_u | x_t, x_0): eta = 1 is ancestral sampling,
        eta = 0 the deterministic DDIM step.

        Source: Song et al. 2020, arXiv:2010.02502, eq. 12 and 16.
        """
        return ancestral_kernel(prediction, self.coefficients(u), eta)

    def velocity(self, prediction: GaussianPrediction) -> tuple[Number, Tensor]:
        """The flow variable tau and dx/dtau (B, *S) of the probability flow at the prediction's state; see `flow`."""
        tau, alpha, beta = self.flow(prediction.a, prediction.s)
        return tau, combined(prediction.mean, alpha, prediction.x, beta)

    def tau(self, t: Number) -> Number:
        """The flow variable at t."""
        return self.schedule.flow(*self.coefficients(t))[0]


def ancestral_kernel(prediction: GaussianPrediction, then: tuple[Number, Number], eta: Number = 1.0) -> GaussianKernel:
    """Law of x_u given x_t and the posterior mean, from `then` = (a_u, s_u); see `GaussianProcess.reverse_kernel`."""
    a, s, x0 = prediction.a, prediction.s, prediction.mean
    b, r = then
    variance = r * r * _positive(1 - (a * r / (b * s)) ** 2)
    k = eta * variance**0.5 if eta else 0.0  # a number where nothing is drawn, whatever the times
    # With x = a x0 + s eps: mean = (b - a c) x0 + c x for c = sqrt(r^2 - k^2) / s, two passes over the state.
    c = _positive(r * r - k * k) ** 0.5 / s
    return GaussianKernel(combined(x0, b - a * c, prediction.x, c), k, prediction.support)


def combined(x: Tensor, alpha: Number, y: Tensor, beta: Number) -> Tensor:
    """alpha x + beta y of states (B, *S), in the precision of the states; alpha and beta numbers or (B,)."""
    if isinstance(beta, Tensor):
        return column(alpha, x).to(x.dtype) * x + column(beta.to(x.dtype), x) * y
    return torch.add(x * alpha, y, alpha=beta)


def check_time(t: Number) -> None:
    """Raise `ValueError` for times outside [0, 1]; tensors on a GPU are not waited for."""
    if isinstance(t, Tensor):
        if t.device.type == "cpu" and not bool(((t >= 0) & (t <= 1)).all()):
            raise ValueError(
                f"times from {float(t.min()):g} to {float(t.max()):g}; they run from 0 (clean) to 1 (noise)"
            )
    elif not 0 <= t <= 1:
        raise ValueError(f"t={t:g}; times run from 0 (clean) to 1 (noise)")


def _positive(value: Number) -> Number:
    return value.clamp_min(0) if isinstance(value, Tensor) else max(value, 0.0)


def VP(  # noqa: N802 - reads as a process type
    schedule: str | Callable[[Tensor], Tensor] | Sequence[float] = "linear", **options: float
) -> GaussianProcess:
    """Variance-preserving process.

    Args:
        schedule: "linear" (options beta_min, beta_max), "cosine", or a noise rate of your own: a function of a tensor
            of times in [0, 1], or its values at evenly spaced times from 0 to 1. For betas of N steps see `DiscreteVP`.
        options: of the schedule.

    Raises:
        ValueError: no such schedule, or a rate below 0.
    """
    return GaussianProcess(_preserving(schedule, options))


def SubVP(  # noqa: N802
    schedule: str | Callable[[Tensor], Tensor] | Sequence[float] = "linear", **options: float
) -> GaussianProcess:
    """The signal of `VP(schedule, **options)` with noise s = 1 - a^2 (Song et al. 2021, arXiv:2011.13456, eq. 12)."""
    return GaussianProcess(SubVPSchedule(_preserving(schedule, options)))


def _preserving(
    schedule: str | Callable[[Tensor], Tensor] | Sequence[float], options: dict
) -> LinearVP | CosineVP | RateVP:
    kinds = {"linear": LinearVP, "cosine": CosineVP}
    if not isinstance(schedule, str):
        return RateVP(schedule, **options)
    if schedule not in kinds:
        raise ValueError(
            f"no VP schedule {schedule!r}; there are {', '.join(kinds)}, and functions or tables of a noise rate"
        )
    return kinds[schedule](**options)


def DiscreteVP(  # noqa: N802
    betas: str | Sequence[float] = "linear",
    num_train_timesteps: int = 1000,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    zero_terminal_snr: bool = False,
) -> GaussianProcess:
    """Variance-preserving process of N discrete steps, as older checkpoints have it; index i is the time (i + 1) / N.

    Args:
        betas: "linear", "scaled_linear", "squaredcos_cap_v2" (see `legacy_betas`), or the N noise variances themselves.
        num_train_timesteps: N, for betas by name.
        beta_start, beta_end: first and last noise variance, for betas by name.
        zero_terminal_snr: nothing is left of the signal at the last index, see `TableVP`.

    Raises:
        ValueError: no such table, or a variance outside (0, 1).
    """
    if isinstance(betas, str):
        betas = legacy_betas(betas, num_train_timesteps, beta_start, beta_end)
    return GaussianProcess(TableVP(betas, zero_terminal_snr))


def VE(low: float = 0.01, high: float = 50.0) -> GaussianProcess:  # noqa: N802
    """Variance-exploding process with geometric noise levels from `low` to `high`, in the unit of the data."""
    return GaussianProcess(GeometricVE(low, high))


def EDM(low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> GaussianProcess:  # noqa: N802
    """Variance-exploding process on the noise levels of Karras et al. 2022."""
    return GaussianProcess(KarrasVE(low, high, rho))


def Flow() -> GaussianProcess:  # noqa: N802
    """Rectified flow, x_t = (1 - t) x_0 + t eps."""
    return GaussianProcess(LinearFlow())
