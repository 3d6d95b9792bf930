"""BDIA: a DDIM step joined with one undone, exactly invertible."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from guidekit.core.kernel import GaussianKernel
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.step import Step
from guidekit.inversion.base import Invertible, Latent, asking, check_growth, times_of
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here
from guidekit.samplers.dpm_solver import exponential_step
from guidekit.samplers.history import Earlier

MOST_GROWTH = 5e3
"""What the way back may make of the error of its first step; with more, that would be all that is left of a latent."""


@register("sampler", "bdia")
@dataclasses.dataclass(frozen=True, eq=False)
class BDIA(Invertible[Earlier]):
    """A DDIM step forward from the present state joined with one undone from it to the state before; invertible.

    With D(t -> u) what a DDIM step from the present state adds, z_next = gamma (z_before - D(t -> before)) +
    (1 - gamma) z + D(t -> u). One network call a step. gamma = 0 is DDIM (and cannot be inverted); gamma = 1 is
    symmetric in time, of second order and can be run back through any number of steps. In between the order is 1, with
    (1 - gamma) / (1 + gamma) of DDIM's error, and on the way back every error, that of its first step too, grows by
    1 / gamma a step. The memory is the state before.

    Args:
        gamma: in (0, 1].
        times: see `TimedSampler`.

    Raises:
        ValueError: gamma outside (0, 1].

    Source: Zhang et al. 2023, arXiv:2307.10829 (reconstructed from a summary; its inverse is tested).
    """

    gamma: float = 0.96
    requires = frozenset({Fact.FLOW})

    def __post_init__(self) -> None:
        """Check the weight and the grid."""
        super().__post_init__()
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}; a number above 0 and at most 1 is needed (0 would be sampler=ddim)")

    def step(self, here: Here, memory: Earlier | None) -> tuple[GaussianKernel, Earlier]:
        """See `Sampler.step`; a state before that has not come yet (a guidance went back in time) is not used."""
        before = memory if memory is not None and memory.t > here.step.t else None
        mean = self.next(here.process, here.prediction, before, here.step)
        return GaussianKernel(mean, 0.0, here.prediction.support), Earlier(here.step.t, here.prediction.x)

    def next(self, process: Any, prediction: GaussianPrediction, before: Earlier | None, step: Step) -> Tensor:
        """The state after a step, (B, *S), from the prediction at the present one and the state before it."""
        forward = ddim(process, prediction, step.t, step.u)
        if before is None:
            return forward
        return forward + self.gamma * (before.value - ddim(process, prediction, step.t, before.t))

    def encode(self, begun: Population, steps: Sequence[Step]) -> Latent:
        """See `Invertible.encode`. The state next to the clean one is as by an inverted DDIM step; any is exact."""
        check_growth(self, 1 / self.gamma, len(steps), MOST_GROWTH, f"gamma={self.gamma}")
        process, ask, last = begun.process, asking(begun), steps[-1]
        clean = process.coefficients(last.u)[0]
        a, s = process.coefficients(last.t)
        after = begun.state
        now = a / clean * after + s * ask(a / clean * after, last).noise
        for previous, step in zip(steps[-2::-1], steps[:0:-1], strict=True):
            prediction = ask(now, step)
            gap = after - ddim(process, prediction, step.t, step.u)
            now, after = ddim(process, prediction, step.t, previous.t) + gap / self.gamma, now
        return Latent(now, after, times_of(steps))

    def decode(self, begun: Population, latent: Latent, steps: Sequence[Step]) -> Tensor:
        """See `Invertible.decode`."""
        process, ask = begun.process, asking(begun)
        first, now = latent.pair
        before = Earlier(steps[0].t, first)
        for step in steps[1:]:
            now, before = self.next(process, ask(now, step), before, step), Earlier(step.t, now)
        return now


def ddim(process: Any, prediction: GaussianPrediction, t: float, u: float) -> Tensor:
    """The state at u, (B, *S), of a DDIM step of either direction from t."""
    now, then = process.coefficients(t), process.coefficients(u)
    return exponential_step(prediction.x, prediction.mean, now, then)[0]


__all__ = ["BDIA"]
