"""DPM-Solver++: x_0 is carried on in log(a / s), the rest of a step is exact."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.core.kernel import GaussianKernel
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here, TimedSampler, at_least
from guidekit.samplers.history import Earlier, Past, before, log_level


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


@register("sampler", "dpm_solver")
@dataclasses.dataclass(frozen=True, eq=False)
class DPMSolver(TimedSampler[Past]):
    """DPM-Solver++(2M): x_0 is carried on as a straight line in log(a / s); second order, one network call a step.

    eta = 1 is SDE-DPM-Solver++(2M), the reverse SDE solved in the same way; eta between and above scales its noise. The
    first step, and the last to a clean state, are of first order. The memory is the last two clean estimates.

    Args:
        eta: strength of the noise, at least 0; 0 is deterministic.
        times: see `TimedSampler`.

    Raises:
        ValueError: an eta below 0, or none.

    Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2 and SDE-DPM-Solver++(2M).
    """

    eta: float = 0.0
    requires = frozenset({Fact.FLOW})

    def __post_init__(self) -> None:
        """Check eta and the grid."""
        super().__post_init__()
        at_least(self.eta, 0, "eta")

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """Noise, unless eta is 0."""
        return frozenset({Fact.NOISE}) if self.eta > 0 else frozenset()

    def step(self, here: Here, memory: Past | None) -> tuple[GaussianKernel, Past]:
        """See `Sampler.step`."""
        process, prediction, t, u = here.process, here.prediction, here.step.t, here.step.u
        now, then, past = process.coefficients(t), process.coefficients(u), before(memory, t)
        x0 = prediction.mean
        if past and then[1] > 0:
            level = log_level(*now)
            ratio = (log_level(*then) - level) / (level - log_level(*process.coefficients(past[0].t)))
            x0 = torch.lerp(past[0].value, x0, 1 + 0.5 * ratio)
        mean, std = exponential_step(prediction.x, x0, now, then, self.eta)
        return GaussianKernel(mean, std, prediction.support), (Earlier(t, prediction.mean), *past[:1])


@register("sampler", "dpm_solver_single")
@dataclasses.dataclass(frozen=True, eq=False)
class DPMSolverSingle(TimedSampler[None]):
    """DPM-Solver++(2S): a first-order step to the middle of log(a / s), then one with what is predicted there.

    Second order, two network calls a step; steps from pure noise (a = 0) and to a clean state are of first order and
    take one.

    Source: Lu et al. 2022, arXiv:2211.01095, algorithm 1 with r_1 = 1/2.
    """

    requires = frozenset({Fact.FLOW})

    def step(self, here: Here, memory: None) -> tuple[GaussianKernel, None]:
        """See `Sampler.step`."""
        process, prediction, t, u = here.process, here.prediction, here.step.t, here.step.u
        now, then = process.coefficients(t), process.coefficients(u)
        x0 = prediction.mean
        if now[0] > 0 and then[1] > 0:
            middle = process.at_level(math.sqrt(process.level(t) * process.level(u)))
            half, _ = exponential_step(prediction.x, x0, now, process.coefficients(middle))
            x0 = here.ask(half, middle).mean
        return GaussianKernel(exponential_step(prediction.x, x0, now, then)[0], 0.0, prediction.support), None


__all__ = ["DPMSolver", "DPMSolverSingle", "exponential_step"]
