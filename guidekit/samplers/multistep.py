"""Multistep solvers of the probability flow: one network call a step, earlier answers are used again.

Earlier answers are kept in the population's memory and move with their particle. Where a guidance goes back in time
(recurrence), answers from times that have not come yet are not used; one more than needed is kept for that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from guidekit.core.kernels import GaussianKernel
from guidekit.core.population import Population
from guidekit.processes import GaussianProcess
from guidekit.samplers.base import TimedSampler
from guidekit.samplers.ode import ask, runge_kutta_step


@dataclasses.dataclass(frozen=True)
class History:
    """Answers of earlier steps, the newest first.

    Args:
        times: when they were given, falling with the place.
        values: place 0, 1, ... -> (B, *S).
    """

    times: tuple[float, ...] = ()
    values: dict[int, Tensor] = dataclasses.field(default_factory=dict)

    def before(self, t: float) -> list[tuple[float, Tensor]]:
        """(time, value) of the answers given at noisier times than t, the newest first."""
        return [(time, self.values[i]) for i, time in enumerate(self.times) if time > t]

    def with_newest(self, t: float, value: Tensor, count: int) -> History:
        """The history with an answer at t in front, of at most `count` answers."""
        kept = [(t, value), *self.before(t)][:count]
        return History(tuple(time for time, _ in kept), {i: value for i, (_, value) in enumerate(kept)})


@dataclasses.dataclass(frozen=True)
class RememberingKernel(GaussianKernel):
    """`GaussianKernel` after which the population remembers something.

    Args:
        kept: by name, per-particle tensors or dataclasses of them.
    """

    kept: dict = dataclasses.field(default_factory=dict)

    def memory(self, state: Tensor) -> dict:
        """What the population is to remember."""
        return self.kept


def history_of(population: Population) -> History:
    """The answers the population remembers."""
    return population.memory.get("solver_history", History())


def log_level(process: GaussianProcess, t: float) -> float:
    """log(a / s) at t, half the log signal-to-noise ratio: the lambda of the DPM-Solver papers."""
    a, s = process.coefficients(t)
    return math.inf if s == 0 else (-math.inf if a == 0 else math.log(a / s))


def steps_left(population: Population, t: float) -> int:
    """Number of steps from t to the end of the grid."""
    return sum(time < t for time in population.run.grid)


# DPM-Solver++ ------------------------------------------------------------------------------------------------------


def exponential_step(
    x: Tensor, x0: Tensor, now: tuple[float, float], then: tuple[float, float], eta: float = 0.0
) -> tuple[Tensor, float]:
    """Mean (B, *S) and std of the exact step with x_0 held at x0 (B, *S), from (a, s) to (b, r).

    With rho = e^-h = a r / (b s), mean = r / s rho^eta x + b (1 - rho^(1 + eta)) x0 and std = r sqrt(1 - rho^(2 eta)).

    Source: Lu et al. 2022, arXiv:2211.01095, the first-order step of DPM-Solver++ (eta = 0) and of its SDE (eta = 1).
    """
    (a, s), (b, r) = now, then
    rho = a * r / (b * s)
    mean = torch.add(x0 * (b * (1 - rho ** (1 + eta))), x, alpha=r / s * rho**eta)
    return mean, r * math.sqrt(max(1 - rho ** (2 * eta), 0.0)) if eta else 0.0


@dataclasses.dataclass(frozen=True)
class DPMSolver(TimedSampler):
    """DPM-Solver++(2M): x_0 is carried on as a straight line in log(a / s); second order, one network call a step.

    eta = 1 is SDE-DPM-Solver++(2M), the reverse SDE solved in the same way; eta between and above scales its noise. The
    first step, and the last to a clean state, are of first order.

    Args:
        eta: strength of the noise; 0 is deterministic.

    Raises:
        ValueError: a negative eta.

    Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2 and SDE-DPM-Solver++(2M).
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a negative eta."""
        super().__post_init__()
        if not self.eta >= 0:
            raise ValueError(f"eta={self.eta}; a number of at least 0 is needed")

    def propose(self, population: Population, t: float, u: float) -> RememberingKernel:
        """See `Sampler.propose`."""
        process, prediction, history = population.run.prior.process, population.predict(t), history_of(population)
        x0, before = prediction.mean, history.before(t)
        if before and process.coefficients(u)[1] > 0:
            here = log_level(process, t)
            ratio = (log_level(process, u) - here) / (here - log_level(process, before[0][0]))
            x0 = x0 + 0.5 * ratio * (x0 - before[0][1])
        now, then = (prediction.a, prediction.s), process.coefficients(u)
        mean, std = exponential_step(prediction.x, x0, now, then, self.eta)
        kept = {"solver_history": history.with_newest(t, prediction.mean, 2)}
        return RememberingKernel(mean, std, prediction, kept=kept)


@dataclasses.dataclass(frozen=True)
class DPMSolverSingle(TimedSampler):
    """DPM-Solver++(2S): a first-order step to the middle of log(a / s), then one with what is predicted there.

    Second order, two network calls a step; steps from pure noise (a = 0) and to a clean state are of first order and
    take one.

    Source: Lu et al. 2022, arXiv:2211.01095, algorithm 1 with r_1 = 1/2.
    """

    def propose(self, population: Population, t: float, u: float) -> GaussianKernel:
        """See `Sampler.propose`."""
        process, prediction = population.run.prior.process, population.predict(t)
        now, then = (prediction.a, prediction.s), process.coefficients(u)
        x0 = prediction.mean
        if now[0] > 0 and then[1] > 0:
            middle = process.at_level(math.sqrt(process.level(t) * process.level(u)))
            half, _ = exponential_step(prediction.x, x0, now, process.coefficients(middle))
            x0 = ask(population, half, t, middle).mean
        return GaussianKernel(exponential_step(prediction.x, x0, now, then)[0], 0.0, prediction)


# UniPC -------------------------------------------------------------------------------------------------------------


def moment(k: int, h: float) -> float:
    """Integral over v in [0, 1] of exp(-h (1 - v)) v^k, for h >= 0."""
    if h < 1:  # the recursion loses digits
        term, total = 1 / (k + 1), 0.0
        for m in range(24):
            total += term
            term *= -h / (k + m + 2)
        return total
    value = -math.expm1(-h) / h
    for i in range(1, k + 1):
        value = (1 - i * value) / h
    return value


def exponential_weights(nodes: Sequence[float], h: float) -> list[float]:
    """Weights w_j with sum_j w_j D(l_j) = int_0^h exp(l - h) D(l) dl for polynomials D of degree below their number.

    Args:
        nodes: l_j, where D = E[x_0 | x] is known, as log(a / s) less that at the start of the step; minus infinity is
            left out (weight 0), as pure noise tells nothing.
        h: length of the step in log(a / s).
    """
    known = [i for i, node in enumerate(nodes) if node > -math.inf]
    scaled = np.array([nodes[i] / h for i in known])
    matrix = np.vander(scaled, increasing=True).T
    solved = np.linalg.solve(matrix, np.array([h * moment(k, h) for k in range(len(known))]))
    weights = [0.0] * len(nodes)
    for i, weight in zip(known, solved, strict=True):
        weights[i] = float(weight)
    return weights


def unipc_weights(nodes: Sequence[float], h: float, variant: str) -> list[float]:
    """`exponential_weights`, but for two nodes the slope has half of B(h): h for "bh1", 1 - e^-h for "bh2".

    Source: Zhao et al. 2023, arXiv:2302.04867, B_1 and B_2 with a_1 = 1/2.
    """
    if len(nodes) != 2 or -math.inf in nodes:
        return exponential_weights(nodes, h)
    gain = -math.expm1(-h)
    slope = 0.5 * (h if variant == "bh1" else gain) / ((nodes[1] - nodes[0]) / h)
    return [gain - slope, slope]


@dataclasses.dataclass(frozen=True)
class Stride:
    """The step before, for the corrector: state (B, *S) it started from, where it led, when, and its order."""

    x: Tensor
    led_to: Tensor
    time: float
    target: float
    order: int


@dataclasses.dataclass(frozen=True)
class UniPC(TimedSampler):
    """Predictor and corrector of one family; one network call a step, as the answer at the predicted state serves both.

    The predictor carries x_0 on as a polynomial in log(a / s) through the last `order` answers; when the next answer is
    there, the corrector repeats the step before with it. What a guidance added to the predicted state is kept. Order
    `order` without and one more with the corrector. The first and the last steps are of lower order, which in the limit
    bounds order=3 to 3 and order=4 to 3.

    Args:
        order: 1 to 4.
        corrector: False leaves the corrector out.
        variant: "bh1" or "bh2", B(h) of the two-point formulas.

    Raises:
        ValueError: an order or a variant that does not exist.

    Source: Zhao et al. 2023, arXiv:2302.04867, UniP and UniC for data prediction.
    """

    order: int = 2
    corrector: bool = True
    variant: str = "bh2"

    def __post_init__(self) -> None:
        """Refuse unknown orders and variants."""
        super().__post_init__()
        if self.order not in (1, 2, 3, 4) or self.variant not in ("bh1", "bh2"):
            raise ValueError(f"order={self.order}, variant={self.variant!r}; accepted: 1, 2, 3 or 4, bh1 or bh2")

    def propose(self, population: Population, t: float, u: float) -> RememberingKernel:
        """See `Sampler.propose`."""
        process, prediction, history = population.run.prior.process, population.predict(t), history_of(population)
        x, x0, before = prediction.x, prediction.mean, history.before(t)
        stride: Stride | None = population.memory.get("solver_stride")
        if self.corrector and stride is not None and stride.target == t and before and before[0][0] == stride.time:
            values = [*before[: stride.order], (t, x0)]
            x = x + (self._step(process, stride.x, values, stride.time, t) - stride.led_to)
        order = min(self.order, len(before) + 1, steps_left(population, t))
        mean = self._step(process, x, [(t, x0), *before[: order - 1]], t, u)
        kept = {
            "solver_history": history.with_newest(t, x0, self.order),
            "solver_stride": Stride(x, mean, t, u, order),
        }
        return RememberingKernel(mean, 0.0, prediction, kept=kept)

    def _step(
        self, process: GaussianProcess, x: Tensor, values: list[tuple[float, Tensor]], t: float, u: float
    ) -> Tensor:
        """r / s x + b sum_j w_j D_j from t to u, with D_j = E[x_0 | x] known at some times."""
        (a, s), (b, r) = process.coefficients(t), process.coefficients(u)
        here = log_level(process, t)
        h = log_level(process, u) - here
        if len(values) == 1 or math.isinf(h):
            # Of first order: to a clean state, or from pure noise, where a corrector has only the new answer to go by.
            x0 = values[-1 if math.isinf(here) else 0][1]
            return exponential_step(x, x0, (a, s), (b, r))[0]
        weights = unipc_weights([log_level(process, time) - here for time, _ in values], h, self.variant)
        new = x * (r / s)
        for weight, (_, value) in zip(weights, values, strict=True):
            new = torch.add(new, value, alpha=b * weight)
        return new


# Adams-Bashforth ---------------------------------------------------------------------------------------------------


def adams_weights(nodes: Sequence[float], step: float) -> list[float]:
    """Weights w_j with sum_j w_j v(tau_j) = int_0^step v dtau for polynomials v of degree below their number.

    Args:
        nodes: tau_j, where v is known, less that at the start of the step.
        step: its length, of either sign.
    """
    scaled = np.array(nodes) / step
    matrix = np.vander(scaled, increasing=True).T
    return (step * np.linalg.solve(matrix, 1 / np.arange(1, len(scaled) + 1))).tolist()


@dataclasses.dataclass(frozen=True)
class AdamsBashforth(TimedSampler):
    """The velocity is carried on as a polynomial in the flow variable through the last `order` steps of any length.

    One network call a step; order 1 is `Euler`. For variance-exploding noise it is the linear multistep method of
    k-diffusion. The first steps are of lower order, which bounds the whole to order 2 unless `runge_kutta_start`, with
    which they take four calls each.

    Args:
        order: 1 to 4.
        runge_kutta_start: the first order - 1 steps are of fourth order.

    Raises:
        ValueError: an order that does not exist.

    Source: Liu et al. 2022, arXiv:2202.09778 (linear multistep in diffusion); coefficients of Adams and Bashforth, for
    unequal steps.
    """

    order: int = 2
    runge_kutta_start: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown orders."""
        super().__post_init__()
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"order={self.order}; accepted: 1, 2, 3 or 4")

    def propose(self, population: Population, t: float, u: float) -> RememberingKernel:
        """See `Sampler.propose`."""
        process, prediction, history = population.run.prior.process, population.predict(t), history_of(population)
        tau, velocity = process.velocity(prediction)
        values = [(t, velocity), *history.before(t)][: self.order]
        if self.runge_kutta_start and len(values) < self.order and process.coefficients(u)[1] > 0:
            mean = runge_kutta_step(population, prediction, t, u)
        else:
            mean = prediction.x
            weights = adams_weights([process.tau(time) - tau for time, _ in values], process.tau(u) - tau)
            for weight, (_, value) in zip(weights, values, strict=True):
                mean = torch.add(mean, value, alpha=weight)
        kept = {"solver_history": history.with_newest(t, velocity, self.order)}
        return RememberingKernel(mean, 0.0, prediction, kept=kept)
