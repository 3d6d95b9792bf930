"""CFG++: the guided clean estimate is noised again with the unconditional noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, Propose
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.requirements import Fact
from guidekit.core.sampler import Sampler
from guidekit.core.state import column
from guidekit.core.step import Step
from guidekit.guidance.contrast import LINEAR, Contrast, Weight, base, scheduled
from guidekit.guidance.contrast.engine import innermost
from guidekit.guidance.contrast.nonlinear import STRAIGHT
from guidekit.guidance.contrast.rule import NEVER, one_kind
from guidekit.registry import register
from guidekit.samplers import DDIM, Ancestral, Euler


def effective_weight(weight: float, a: float, s: float, b: float, r: float) -> float:
    """Weight of the CFG step that a CFG++ step from (a, s) to (b, r) equals: lambda b s / (b s - r a).

    It grows with the number of steps, so the strength of CFG++ does too: choose lambda for a number of steps.
    """
    return weight * b * s / (b * s - r * a)


@register("guidance", "cfg_plus_plus")
def CFGPlusPlus(weight: Weight = 0.6, negative: Any = None) -> Contrast:  # noqa: N802 - a preset
    """CFG++: x_u = a_u D_lambda + s_u e_0, with D_lambda = D_0 + lambda (D_c - D_0) and e_0 the unconditional noise.

    lambda = 0 is the unconditional sampler bit for bit; lambda = 1 is not the conditional one. With ancestral noise of
    standard deviation k, x_u = a_u D_lambda + sqrt(s_u^2 - k^2) e_0 + k z. The strength depends on the number of steps,
    see `effective_weight`.

    Args:
        weight: lambda, usually in [0, 1]; a number, or a function of t.
        negative: condition in place of the null, see `CFG`.

    Source: Chung et al. 2024, arXiv:2406.08070, algorithm 2; the ancestral form as in the authors' code.
    """
    rule = dataclasses.replace(LINEAR, neutral=NEVER, requires=frozenset({Fact.FLOW}), check=one_kind)
    return BaseNoise(base(negative), rule, scheduled("CFGPlusPlus", weight), "CFGPlusPlus")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BaseNoise(Contrast[None]):
    """A linear contrast after which the noise of the base takes the place of the guided one in the next state."""

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """The deterministic one, where the caller leaves the choice."""
        return DDIM()

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The step must be one that is made from a clean estimate and a noise."""
        super().check(prior, sampler, members)
        innermost(self, members, "replaces the noise of its own base, which")
        straight = type(getattr(prior.process, "schedule", None)).__name__ in STRAIGHT
        if not isinstance(sampler, DDIM | Ancestral) and not (isinstance(sampler, Euler) and straight):
            raise GuidanceError(
                f"{self.name} cannot change the steps of sampler {sampler.name}: use sampler=ddim or ancestral"
            )

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """The inner step with its noise replaced."""
        proposal = inner(population, step)
        kernel: Any = proposal.kernel
        prediction: Any = population.predict()
        if prediction.branches is None:  # lambda = 0: the base is all there is
            return proposal
        (_, r), k = population.process.coefficients(step.u), kernel.std
        left = (r * r - k * k).clamp_min(0) ** 0.5 if isinstance(k, Tensor) else max(r * r - k * k, 0.0) ** 0.5
        change = prediction.branches.null.noise - prediction.noise
        return proposal.replaced(kernel.shift(column(left, prediction.x) * change))
