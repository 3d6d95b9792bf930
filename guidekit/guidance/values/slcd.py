"""Guidance by a learned law of the reward: one small network in place of searches or gradients through the prior."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError
from guidekit.core.kernels import Kernel
from guidekit.core.population import Population, Time
from guidekit.core.predictions import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.gradient.noisy import ClassifierGuidance
from guidekit.guidance.transition import DCBG
from guidekit.guidance.values.learned import LearnedValue
from guidekit.processes import DiscreteProcess


@dataclasses.dataclass(frozen=True)
class SLCD(Guidance):
    """Samples towards p(x_0) exp(eta r(x_0)) by the learned soft value f = log E[exp(eta r(x_0)) | x_t].

    Real-valued states: score + scale * grad f (`ClassifierGuidance`). Tokens: the step's law of every token times
    exp(scale * change of f), by one gradient or by all edits (`DCBG`); the authors' code adds the gradient, averaged
    over the batch, to unnormalised probabilities instead, which makes a sample depend on its batch. eta may change from
    run to run without training. One pass of the small network forward and back a step.

    Args:
        value: made by `guidekit.training.values.train_value` or `load_value`.
        eta: 1 / temperature, in units of 1 / reward.
        scale: multiplies the change, a number or a function of t; 0 is unguided.
        first_order: of tokens: one gradient in place of L V evaluations.

    Source: Oertell et al. 2025, arXiv:2505.21666, algorithm 2.
    """

    value: LearnedValue
    eta: float = 1.0
    scale: float | Callable[[float], float] = 1.0
    first_order: bool = True
    time_independent = True  # `denoise` changes nothing where a prediction may be kept

    def check(self, run: Run) -> None:
        """The value must have been trained on the prior's noise, and be a learned one."""
        if not isinstance(self.value, LearnedValue):
            raise GuidanceError(f"SLCD needs a learned value, and got {type(self.value).__name__}: see load_value")
        learned, here = self.value.process, run.prior.process
        if learned != here:
            raise GuidanceError(f"SLCD's value was trained on {learned}, and this prior ({run.prior.name}) has {here}")

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `ClassifierGuidance`."""
        scale = self._scale(t)
        if isinstance(inner.run.prior.process, DiscreteProcess) or scale == 0:
            return inner(x, t, condition)
        return ClassifierGuidance(self.value.at(self.eta), scale).denoise(inner, x, t, condition)

    def propose(
        self, inner: Callable[[Population, float, float], Kernel], population: Population, t: float, u: float
    ) -> Kernel:
        """See `DCBG`."""
        scale = self._scale(t)
        if not isinstance(population.run.prior.process, DiscreteProcess) or scale == 0:
            return inner(population, t, u)
        plug = DCBG(scale=scale, value=self.value.at(self.eta), first_order=self.first_order)
        return plug.propose(inner, population, t, u)

    def _scale(self, t: Time) -> float:
        return self.scale(t) if callable(self.scale) else self.scale
