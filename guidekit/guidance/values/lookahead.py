"""The value of a noisy state by where a few steps lead from it, in place of one clean estimate."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Fact
from guidekit.core.kernel import CompositeKernel, Kernel
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.core.random import Draw
from guidekit.guidance.inverse.walks import halting, walked
from guidekit.guidance.values.estimates import PosteriorMean
from guidekit.registry import register

LEAST = 1e-6
"""Times of rows are taken as at least it: what is clean already has no steps left."""


@register("estimate", "lookahead")
@dataclasses.dataclass(frozen=True, eq=False)
class Lookahead(PosteriorMean):
    """Reward of the clean state to which a few steps lead, the clean estimate of the last of n predictions.

    Real numbers follow the probability flow (DPM-Solver++ of second order): with many calls the estimate is the sample
    that this noise stands for, where a posterior mean is blurred. Tokens are drawn by ancestral steps, each of which
    knows what the one before has drawn; of states of several parts each takes steps of its kind. All under the guidance
    of here. One call is `PosteriorMean`; each further one is a network row for every state that is judged.

    Args:
        reward: to be increased.
        temperature: in its unit, see `PosteriorMean`.
        calls: n, predictions in all, at least 1.

    Raises:
        ValueError: no whole number of at least 1.

    Source: Kim et al. 2024, arXiv:2411.17041, section 3 (several steps in place of one); Zheng et al. 2024,
    arXiv:2409.20175 (probability flow).
    """

    calls: int = 3

    def __post_init__(self) -> None:
        """Check the number."""
        if not isinstance(self.calls, int) or isinstance(self.calls, bool) or self.calls < 1:
            raise ValueError(f"calls must be a whole number of at least 1, got {self.calls!r}")

    def value(self, population: Population) -> Tensor:
        """See `Estimate.value`."""
        if population.moment.t == 0 or self.calls == 1:
            return super().value(population)
        return super().value(population.believing(self.ahead(population)))

    def ahead(self, population: Population) -> Prediction:
        """The prediction at the end of the steps; what is believed of the present state stays as it is."""
        prediction, setup = population.predict(), population.setup
        facts = setup.prior.provides
        if Fact.FLOW in facts and Fact.PARTS not in facts:
            clean = walked(population, prediction, self.calls, 2, levels=halting)
            return prediction.reals(lambda support, mean: clean)
        draw, process = Draw(setup.random, population.key, "lookahead"), population.process
        begun: Any = population.time
        begun = begun.clamp_min(LEAST) if isinstance(begun, Tensor) else begun
        t = begun
        for number in range(1, self.calls):
            u = begun * (1 - number / self.calls)
            state = onward(process, prediction, t, u).sample(draw.named(str(number)))
            prediction, t = population.ask(state, u), u
        return prediction


def onward(process: Any, prediction: Any, t: float | Tensor, u: float | Tensor) -> Kernel:
    """The law of a step from t to u: without noise for real numbers with a flow, the ancestral one for all else."""
    if Fact.PARTS in process.provides:
        kernels = {name: onward(part, prediction.parts[name], t, u) for name, part in process.parts.items()}
        return CompositeKernel(kernels, prediction.mask)
    if isinstance(prediction, GaussianPrediction) and Fact.FLOW in process.provides:
        kernel: Kernel = process.reverse_kernel(prediction, t, u, eta=0.0)
        return kernel
    kernel = process.reverse_kernel(prediction, t, u)
    return kernel


__all__ = ["Lookahead", "onward"]
