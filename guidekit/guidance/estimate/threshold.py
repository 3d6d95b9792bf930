"""Dynamic thresholding of clean estimates."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, Layer
from guidekit.core.prediction import Prediction
from guidekit.core.question import Denoise, Question
from guidekit.core.requirements import Fact
from guidekit.core.state import column
from guidekit.core.support import Support
from guidekit.registry import register


@register("guidance", "dynamic_threshold")
@dataclasses.dataclass(frozen=True, eq=False)
class DynamicThreshold(Guidance[None]):
    """Clean estimates in units of `bound` are cut at a quantile of their absolute values and divided by it.

    For data within bounds (pixels, waveforms, actuators); it goes outside the guidance whose overshoot it takes back:
    `chain(CFG, DynamicThreshold)`. Of states of several parts the real-valued ones are cut.

    Args:
        quantile: in (0, 1], of every sample.
        bound: data lie in [-bound, bound].
        most: greatest cut, in units of the bound; 1 is plain clipping, None any.

    Raises:
        ValueError: settings outside their ranges.

    Source: Saharia et al. 2022, arXiv:2205.11487, section 2.3.
    """

    quantile: float = 0.995
    bound: float = 1.0
    most: float | None = None
    layer = Layer.ESTIMATE
    requires = frozenset({Fact.REAL})
    timeless = True

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 < self.quantile <= 1 or not self.bound > 0 or (self.most is not None and not self.most >= 1):
            raise ValueError(
                f"quantile={self.quantile}, bound={self.bound}, most={self.most}: quantile is in (0, 1], "
                "bound above 0, most at least 1"
            )

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""

        def cut(support: Support, mean: Tensor) -> Tensor:
            return thresholded(support, mean, self.quantile, self.most, self.bound)

        return inner(question).reals(cut)


def thresholded(support: Support, x0: Tensor, quantile: float, most: float | None = None, bound: float = 1.0) -> Tensor:
    """Clean estimates cut at a quantile of their absolute values and brought back within the bound.

    Args:
        support: of the part.
        x0: (B, *S), data in [-bound, bound].
        quantile: in (0, 1]; where it is below the bound nothing is changed.
        most: greatest cut in units of the bound, at least 1; None is any.
        bound: above 0.

    Source: Saharia et al. 2022, arXiv:2205.11487, section 2.3.
    """
    limit = support.quantile(x0.abs(), quantile).to(x0).clamp_min(bound)
    limit = column(limit if most is None else limit.clamp_max(most * bound), x0)
    return torch.minimum(torch.maximum(x0, -limit), limit) / (limit / bound)
