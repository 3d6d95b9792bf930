"""Classifier-free guidance of the transition itself: kernels or rates mixed instead of clean predictions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Propose, overrides
from guidekit.core.population import Population
from guidekit.core.prediction import Prediction, geometric
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise, Question, jointly
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered
from guidekit.core.step import Step
from guidekit.core.token_kernels import JumpKernel, TokenKernel
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral
from guidekit.samplers.ctmc import EulerCTMC


@dataclasses.dataclass(frozen=True, eq=False)
class Mixing(Guidance[None]):
    """What guidances that mix the transitions of two branches share; both come from one joined call.

    Args:
        weight: w; 1 is the conditional model, 0 the unconditional one.

    Raises:
        ValueError: a weight that is not finite.
    """

    weight: float = 2.0
    layer = Layer.ESTIMATE  # what changes predictions must come before
    requires = frozenset({Fact.SEQUENCE, Fact.CONDITIONAL, Fact.CONDITION, Fact.TABLES})
    provides = frozenset({Fact.BRANCHES, Fact.LINEAR})
    timeless = True

    def __post_init__(self) -> None:
        """Check the weight."""
        if not math.isfinite(self.weight):
            raise ValueError(f"weight must be a finite number, got {self.weight}")

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Whoever changes the mixed prediction outside would not change the branches that are mixed."""
        name = self.name
        for other in members[members.index(self) + 1 :]:
            if overrides(other, "denoise"):
                raise GuidanceError(f"{name} mixes what is inside it: write chain({other.name}, {name})")

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """Both predictions; the mixed one is what others see."""
        null, conditional = jointly(inner, [question.of_nobody(), question])
        return null.lerp(conditional, self.weight)

    def branches(self, inner: Propose, population: Population, step: Step) -> tuple[TokenKernel, TokenKernel]:
        """The kernels inside under each of the two predictions."""
        found = population.predict().branches
        assert found is not None
        null, conditional = (
            inner(population.believing(prediction), step).kernel for prediction in (found.null, found.conditional)
        )
        assert isinstance(null, TokenKernel) and isinstance(conditional, TokenKernel)
        return null, conditional


@register("guidance", "kernel_cfg")
@dataclasses.dataclass(frozen=True, eq=False)
class KernelCFG(Mixing):
    """Both branches' transitions mixed as K_c^w K_0^(1 - w): kernels (normalized), or rates of the reversed chain.

    On a masked process with one token left it equals `CFG`; on others, and where steps are coarse, it does not. Noise
    that a sampler adds is left as it is.

    Args:
        weight: w; 1 is the conditional model, 0 the unconditional one.
        mix: "kernel" (D-CFG for uniform noise), or "rates" (predictor-free guidance; needs a sampler that follows
            rates, such as `EulerCTMC`).

    Raises:
        ValueError: an unknown mix, or a weight that is not finite.

    Source: Schiff et al. 2024, arXiv:2412.10193, eq. 7; rates: Nisonoff et al. 2024, arXiv:2406.01572, eq. 4.
    """

    mix: str = "kernel"

    def __post_init__(self) -> None:
        """Check weight and mix."""
        super().__post_init__()
        if self.mix not in ("kernel", "rates"):
            raise ValueError(f"mix={self.mix!r}; accepted: kernel, rates (for clean predictions use CFG)")

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Kernels that are tables, or have rates."""
        return Mixing.requires | (frozenset() if self.mix == "kernel" else {Fact.RATE_STEPS})

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """Kernels and rates, where the caller leaves the choice."""
        return Ancestral() if self.mix == "kernel" else EulerCTMC()

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`; the mixed kernel is the law that is wanted."""
        proposal = inner(population, step)
        null, conditional = self.branches(inner, population, step)
        if self.mix == "rates" and isinstance(null, JumpKernel) and isinstance(conditional, JumpKernel):
            rates = geometric(null.rates.log(), conditional.rates.log(), self.weight).exp()
            return proposal.replaced(altered(null, rates=rates))
        return proposal.replaced(null.product(conditional, self.weight)[0])
