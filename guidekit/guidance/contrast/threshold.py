"""Dynamic thresholding of clean estimates."""

from __future__ import annotations

import dataclasses

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.contrast.rules import thresholded
from guidekit.processes import DiscreteProcess


@dataclasses.dataclass(frozen=True)
class DynamicThreshold(Guidance):
    """Clean estimates in units of `bound` are cut at a quantile of their absolute values and divided by it.

    For data within bounds (pixels, waveforms, actuators); it goes outside the guidance whose overshoot it takes back:
    `chain(CFG, DynamicThreshold)`.

    Args:
        quantile: in (0, 1], of every sample.
        bound: data lie in [-bound, bound].
        most: greatest cut, in units of the bound; 1 is plain clipping, None any.

    Source: Saharia et al. 2022, arXiv:2205.11487, section 2.3.
    """

    quantile: float = 0.995
    bound: float = 1.0
    most: float | None = None
    needs = ("real-valued states within bounds",)

    def __post_init__(self) -> None:
        """Refuse settings outside their ranges."""
        if not 0 < self.quantile <= 1 or self.bound <= 0 or (self.most is not None and self.most < 1):
            raise ValueError(
                f"quantile={self.quantile}, bound={self.bound}, most={self.most}: quantile is in (0, 1], "
                "bound above 0, most at least 1"
            )

    def check(self, run: Run) -> None:
        """Real numbers only."""
        if isinstance(run.prior.process, DiscreteProcess):
            raise GuidanceError(f"DynamicThreshold cuts real numbers, and this prior ({run.prior.name}) is of tokens")

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        prediction = inner(x, t, condition)
        cut = thresholded(prediction.mean / self.bound, self.quantile, self.most) * self.bound
        return dataclasses.replace(prediction, mean=cut)
