"""Classifier-based guidance of discrete diffusion: next tokens weighted by what they are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.kernels import Kernel
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.guidance.transition.edits import ROWS, edits_for
from guidekit.guidance.values.learned import refuse_other_noise
from guidekit.processes import DiscreteProcess
from guidekit.samplers import Jumps


class _Transition(Guidance):
    """What plugs that weigh single-token edits share."""

    method: str
    needs = ("reward (any; with first_order differentiable)", "tokens")

    def check(self, run: Run) -> None:
        """Tokens only; first-order edits need a gradient."""
        if not isinstance(run.prior.process, DiscreteProcess):
            kind = type(run.prior.process).__name__
            name = type(self).__name__
            raise GuidanceError(f"{name} weighs edits of tokens, and this prior ({run.prior.name}) is a {kind}")
        refuse_other_noise(self.value, run.prior)
        if self.rows < 1:
            raise ValueError(f"rows={self.rows}; at least 1 is needed")
        run.sampler.require(self.method, type(self).__name__, "sampler=jumps or sampler=ancestral")
        try:
            edits_for(self.reward, self.value, self.first_order, self.rows)
        except GuidanceError as error:
            raise GuidanceError(f"{type(self).__name__} on {run.prior.name}: {error}") from error

    def propose(
        self, inner: Callable[[Population, float, float], Kernel], population: Population, t: float, u: float
    ) -> Kernel:
        """The inner kernel, with every edit weighted by exp(scale * change)."""
        kernel = inner(population, t, u)
        scale = self.scale(t) if callable(self.scale) else self.scale
        if scale == 0:
            return kernel
        change = getattr(kernel, self.method, None)
        if change is None:
            kind = type(kernel).__name__
            raise GuidanceError(f"{type(self).__name__} cannot change a {kind}: use sampler=jumps or sampler=ancestral")
        edits = edits_for(self.reward, self.value, self.first_order, self.rows)
        return change(scale * edits(population, t))


@dataclasses.dataclass(frozen=True)
class DCBG(_Transition):
    """Discrete classifier-based guidance: p(z_u^l = v | z_t) exp(scale * change of v), normalised at every position.

    Within `FKSteering` the weights correct for the tilt (twisted sequential Monte Carlo).

    Args:
        reward: of clean tokens, used where no value is given: then edits are made to the clean estimate.
        scale: gamma for a log-probability, 1 / alpha for a reward, a number or a function of t; 0 is unguided.
        first_order: one gradient in place of L V evaluations.
        value: of noisy tokens, (z (B, L), t) -> (B,), nats; first order needs its `relaxed`.
        rows: most edited sequences in one evaluation.

    Source: Schiff et al. 2024, arXiv:2412.10193, eq. 9-12 (D-CBG).
    """

    reward: Callable[..., Tensor] | None = None
    scale: float | Callable[[float], float] = 1.0
    first_order: bool = False
    value: Callable[[Tensor, float], Tensor] | None = None
    rows: int = ROWS
    method = "tilt"


@dataclasses.dataclass(frozen=True)
class PredictorGuidance(_Transition):
    """Rates R(z -> z') exp(scale * change) of the reversed chain: good edits also come sooner.

    With the exact value and scale = 1 it samples the conditional law, up to the error of the steps. It needs steps in
    time: sampler=jumps (Euler; the default here) or ancestral. Rates of noising that a stochastic sampler adds are left
    as they are, since the conditional law has the same (the authors' code guides them too).

    Args:
        reward, scale, first_order, value, rows: as in `DCBG`.

    Source: Nisonoff et al. 2024, arXiv:2406.01572, eq. 2-3; scale is 1 / their guidance temperature.
    """

    reward: Callable[..., Tensor] | None = None
    scale: float | Callable[[float], float] = 1.0
    first_order: bool = False
    value: Callable[[Tensor, float], Tensor] | None = None
    rows: int = ROWS
    method = "accelerate"
    default_sampler = Jumps()


def TAG(  # noqa: N802 - a preset
    reward: Callable[..., Tensor] | None = None,
    scale: float = 1.0,
    value: Callable[[Tensor, float], Tensor] | None = None,
) -> PredictorGuidance:
    """Taylor-approximated guidance: predictor guidance with one gradient a step in place of L V evaluations.

    Args:
        reward, scale, value: as in `PredictorGuidance`; what judges must be differentiable (have `relaxed`).

    Source: Nisonoff et al. 2024, arXiv:2406.01572, eq. 5.
    """
    return PredictorGuidance(reward, scale, True, value)


TAG.needs = ("differentiable reward", "tokens")
