"""The network is told what is known, at every step, and what is known is put back after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, chain
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered
from guidekit.guidance.inverse.measurement import Measured, held, measurement
from guidekit.guidance.inverse.replacement import Replacement
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.registry import register


@register("tool", "known_input")
@dataclasses.dataclass(frozen=True, eq=False)
class KnownInput(Measured[None]):
    """The condition of the network is what is known: A^+ y, and the mask A^+ A 1, along the channels.

    Args:
        likelihood: of the known entries of a state.
    """

    likelihood: GaussianLikelihood
    layer = Layer.CONTRAST
    requires = frozenset({Fact.FLOW, Fact.PSEUDO_INVERSE})

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The prior's condition must be what is known."""
        if not getattr(prior, "takes_known", False):
            raise GuidanceError(
                f"{self.name} tells the network what is known, and this prior ({prior.name}) was not made to be told: "
                "use one with takes_known = True, such as gk.priors.InformedField(field), or guidance=replacement"
            )

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        x = question.x
        measured = measurement(self.likelihood, x, held(question.population, self.likelihood, question.rows))
        operator = measured.operator
        known, mask = operator.pinv(measured.y), operator.pinv(operator.forward(torch.ones_like(x)))
        return inner(altered(question, condition=torch.cat([known.expand_as(x), mask.expand_as(x)], 1)))


@register("guidance", "masked_input")
def MaskedInput(likelihood: GaussianLikelihood, repeats: int = 1, jump: int = 10) -> Guidance:  # noqa: N802 - a preset
    """Interpolation with a network that is told what is known, for volumes with missing traces.

    After each step what is known is put back at the noise of that step, so it is exact in the end. Where replacement
    alone lets the rest ignore what is known, here the network does not; going back helps little.

    Args:
        likelihood: of the known entries of a state, such as a mask of traces; its noise is that of the network.
        repeats: r, times each stretch is gone through; 1 never goes back.
        jump: j, steps of a stretch.

    Raises:
        ValueError: fewer than one of either.

    Source: Wang et al. 2024, arXiv:2403.11482 (SeisFusion), algorithm 2; their T, j, r are 250, 10, 10.
    """
    return chain(KnownInput(likelihood), Replacement(likelihood, repeats, jump))


__all__ = ["KnownInput", "MaskedInput"]
