"""What is known is put back after every step, at the noise of that step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move, chain
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.guidance.inverse.measurement import Measured
from guidekit.guidance.recurrence.engine import Recurrence
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.registry import register


@register("tool", "known_part")
@dataclasses.dataclass(frozen=True, eq=False)
class KnownPart(Measured[None]):
    """x_u <- x_u - P x_u + a_u A^+ y + s_u P noise after each step, P = A^+ A: for masks, the known part noised to u.

    Finished samples have A x = y exactly; noise in y stays. Between, the rest does not know enough of what is known, so
    its law is biased towards the prior however many steps there are. No gradient.

    Args:
        likelihood: of a linear measurement, whose operator's `pinv` and `forward` map states to states; see
            `guidekit.objectives.operators`.
    """

    likelihood: GaussianLikelihood
    layer = Layer.PROPOSAL
    requires = frozenset({Fact.FLOW, Fact.PSEUDO_INVERSE})

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """There must be nobody who weighs what is moved by force."""
        if any(Fact.WEIGHTS in member.provides for member in members):
            raise GuidanceError(
                f"{self.name} moves particles by force, which no weight makes up for: leave out the filter"
            )

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """A step, and what is known put back."""
        new = inner(population, step)
        x, operator = new.state, self.likelihood.operator
        held = new.slots.get(self.likelihood)
        y = (self.likelihood.y if held is None or held[0] is None else held[0]).to(x)
        y = y[None] if y.ndim == 1 else y
        b, r = new.process.coefficients(step.u)
        known = b * operator.pinv(y).reshape(-1, *x.shape[1:])
        if r > 0:
            known = known + r * self._projected(new.draw(step, "replacement", self).normal(x))
        return new.at(x - self._projected(x) + known)

    def _projected(self, x: Tensor) -> Tensor:
        """A^+ A x."""
        return self.likelihood.operator.pinv(self.likelihood.operator.forward(x)).reshape(x.shape)


@register("guidance", "replacement")
def Replacement(likelihood: GaussianLikelihood, repeats: int = 1, jump: int = 10) -> Guidance:  # noqa: N802 - a preset
    """What is known of the clean state is put back after each step (`KnownPart`); with repeats, RePaint.

    Going back removes the bias slowly: `jump` steps up by forward noising and down again, `repeats` - 1 times, from
    every `jump`-th step.

    Args:
        likelihood: of a linear measurement with a pseudo-inverse.
        repeats: r, times each stretch is gone through; 1 never goes back.
        jump: j, steps of a stretch.

    Raises:
        ValueError: fewer than one of either.

    Source: Lugmayr et al. 2022, arXiv:2201.09865 (RePaint), algorithm 1 and its schedule of jumps; their T, j, r are
    250, 10, 10, which makes 2,410 network calls.
    """
    known = KnownPart(likelihood)
    back = Recurrence(repeats, jump)
    return known if repeats == 1 else chain(known, back)
