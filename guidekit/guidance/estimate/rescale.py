"""The spread of a guided prediction brought back to that of the unguided one."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from guidekit.core.guidance import Guidance, Layer
from guidekit.core.prediction import Prediction
from guidekit.core.question import Denoise, Question
from guidekit.core.requirements import Fact
from guidekit.core.state import altered, column
from guidekit.core.support import Support
from guidekit.registry import register


def respread(support: Support, guided: Tensor, own: Tensor, share: float) -> Tensor:
    """guided (B, *S) with `share` of its excess standard deviation over own taken back; per row.

    Source: Lin et al. 2023, arXiv:2305.08891, eq. 15-16.
    """
    excess = support.std(guided)
    factor = (support.std(own) / excess.clamp_min(1e-12)).where(excess > 1e-12, 1.0)
    return guided * column(share * factor + 1 - share, guided)


def rescaled(guided: Prediction, own: Prediction, share: float) -> Prediction:
    """A guided prediction with a share of its excess spread over another taken back, in v space."""
    back = guided.map(lambda support, a, b: respread(support, a, b, share), own, space="velocity")
    return altered(back, branches=guided.branches and guided.branches.bent())


@register("guidance", "rescale")
@dataclasses.dataclass(frozen=True, eq=False)
class Rescale(Guidance[None]):
    """The standard deviation of every guided prediction brought back towards that of the conditional one, in v space.

    Goes around a contrast, `chain(APG(5.0), Rescale(0.7))`, and is what `rescale=` of the contrasts does.

    Args:
        share: phi in [0, 1]; 0 changes nothing, 1 gives exactly the conditional standard deviation.

    Raises:
        ValueError: a share outside its range.

    Source: Lin et al. 2023, arXiv:2305.08891, section 3.4.
    """

    share: float = 0.7
    layer = Layer.ESTIMATE
    requires = frozenset({Fact.BRANCHES})
    timeless = True

    def __post_init__(self) -> None:
        """Check the share."""
        check_share("Rescale", self.share)

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        guided = inner(question)
        return rescaled(guided, guided.branches.conditional, self.share) if guided.branches else guided


def check_share(name: str, share: float) -> None:
    """Raise `ValueError` where a share is outside [0, 1]."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"{name}: share to rescale must be between 0 (none) and 1, got {share!r}")
