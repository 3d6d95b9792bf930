"""CFG++: the guided clean estimate is noised again with the unconditional noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from torch import Tensor

from guidekit.core.guidance import GuidanceError
from guidekit.core.kernels import GaussianKernel
from guidekit.core.population import Population, Time
from guidekit.core.run import Run
from guidekit.core.state import State, column
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, Branch, Given
from guidekit.guidance.contrast.cfg import STRAIGHT
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.rules import Linear, Rule
from guidekit.samplers import DDIM, Ancestral, Euler, Sampler


def effective_weight(weight: float, a: float, s: float, b: float, r: float) -> float:
    """Weight of the CFG step that a CFG++ step from (a, s) to (b, r) equals: lambda b s / (b s - r a).

    It grows with the number of steps, so the strength of CFG++ does too: choose lambda for a number of steps.
    """
    return weight * b * s / (b * s - r * a)


@dataclasses.dataclass(frozen=True)
class CFGPlusPlus(Contrast):
    """CFG++: x_u = a_u D_lambda + s_u e_0, with D_lambda = D_0 + lambda (D_c - D_0) and e_0 the unconditional noise.

    lambda = 0 is the unconditional sampler bit for bit; lambda = 1 is not the conditional one. With ancestral noise of
    standard deviation k, x_u = a_u D_lambda + sqrt(s_u^2 - k^2) e_0 + k z. The strength depends on the number of steps,
    see `effective_weight`.

    Args:
        weight: lambda, usually in [0, 1]; a number, or a function of t.
        negative: condition in place of the null, see `CFG`.

    Source: Chung et al. 2024, arXiv:2406.08070, algorithm 2; the ancestral form as in the authors' code.
    """

    weight: float | Callable[[Time], Time] = 0.6
    negative: State | None = None
    tokens = False
    needs = ("conditional prior and condition=", "real-valued states")

    @property
    def default_sampler(self) -> Sampler:
        """The deterministic one, where the caller leaves the choice."""
        return DDIM()

    def check(self, run: Run) -> None:
        """The step must be one that is made from a clean estimate and a noise."""
        super().check(run)
        for plug in run.plugs[run.position(self) + 1 :]:
            if plug.contrasts:
                raise GuidanceError(
                    f"CFGPlusPlus replaces the noise of its own base: write chain({type(plug).__name__}, CFGPlusPlus)"
                )
        straight = type(run.prior.process.schedule).__name__ in STRAIGHT
        if not isinstance(run.sampler, DDIM | Ancestral) and not (isinstance(run.sampler, Euler) and straight):
            name = type(run.sampler).__name__
            raise GuidanceError(f"CFGPlusPlus cannot change the steps of sampler {name}: use sampler=ddim or ancestral")

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null or negative condition, and the condition."""
        return (UNCONDITIONAL if self.negative is None else Branch(Given(self.negative)), CONDITIONAL)

    def rule(self, run: Run) -> Rule:
        """Linear, with both branches needed at 1."""
        return Linear(neutral=False)

    def propose(
        self, inner: Callable[[Population, float, float], GaussianKernel], population: Population, t: float, u: float
    ) -> GaussianKernel:
        """The inner step with its noise replaced."""
        kernel, prediction = inner(population, t, u), population.predict(t)
        base = prediction.parts.get("base")
        if base is None:  # lambda = 0: the base is all there is
            return kernel
        _, r = population.run.prior.process.coefficients(u)
        k = kernel.std
        left = (r * r - k * k).clamp_min(0) ** 0.5 if isinstance(k, Tensor) else max(r * r - k * k, 0.0) ** 0.5
        return kernel.shift(column(left, prediction.x) * (base.noise - prediction.noise))
