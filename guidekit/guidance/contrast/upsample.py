"""Upsample guidance: a state larger than the prior's own is kept consistent with a prediction at its own size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

from guidekit.core.guidance import Denoiser, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.contrast.engine import Contrast, everywhere
from guidekit.guidance.contrast.linear import linear
from guidekit.guidance.contrast.schedules import Schedule, noise_level, weight_at
from guidekit.processes import GaussianProcess


@dataclasses.dataclass(frozen=True)
class UpsampleGuidance(Contrast):
    """D + w up(D_low - pool(D)): blocks of `factor` pixels have means between those of D and of a small prediction.

    D_low is the prior's prediction for the pooled state, at the time with noise level s / (a factor^(dims / 2)), as the
    mean of factor^dims noises deviates so much less. At w = 1 the pooled estimate is exactly D_low. Written for clean
    estimates; the form of the source, for noises, is the same. The prior's network must take both sizes.

    Args:
        weight: w; 0 is the prior at the large size.
        factor: m, ratio of the sides.
        schedule: see `CFG`; the source guides at high noise only: Steps(0, some), or an interval from a level on.
            Outside it nothing is added.

    Source: Hwang et al. 2024, arXiv:2404.01709.
    """

    weight: float | Callable[[Time], Time] = 1.0
    factor: int = 2
    schedule: Schedule | Sequence[float] | None = None
    tokens = False
    needs_condition = False
    needs = ("prior whose network takes several sizes",)

    def check(self, run: Run) -> None:
        """States need sides that the factor divides."""
        super().check(run)
        shape = run.prior.event_shape
        if len(shape) < 2 or any(side % self.factor for side in shape[1:]):
            raise GuidanceError(
                f"UpsampleGuidance needs states (channels, sides that {self.factor} divides), and those of this prior "
                f"({run.prior.name}) are {tuple(shape)}"
            )

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        run = inner.run
        w = weight_at(self.weight, None, t, run)
        if self.schedule is not None and everywhere(weight_at(2.0, self.schedule, t, run), 1):
            w = 0.0
        large = inner(x, t, condition)
        if everywhere(w, 0):
            return large
        small = inner(*pooled_state(run.prior.process, x, t, self.factor), condition)
        change = upsampled(small.mean - pooled(large.mean, self.factor), self.factor)
        parts = {"base": large, "positive": small}
        return dataclasses.replace(large, mean=linear(large.mean, large.mean + change, w), parts=parts)


def pooled(x: Tensor, factor: int) -> Tensor:
    """Means of blocks of `factor` along every axis after the channels, (B, C, sides / factor)."""
    kernel = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    return kernel(x, factor)


def upsampled(x: Tensor, factor: int) -> Tensor:
    """Every number repeated `factor` times along every axis after the channels."""
    for axis in range(2, x.ndim):
        x = x.repeat_interleave(factor, axis)
    return x


def pooled_state(process: GaussianProcess, x: Tensor, t: float, factor: int) -> tuple[Tensor, float]:
    """The pooled state, scaled, and the time at which the process has its noise level; x (B, C, sides), t a number."""
    low = time_of_level(process, noise_level(process, t) / factor ** ((x.ndim - 2) / 2))
    return pooled(x, factor) * (process.coefficients(low)[0] / max(process.coefficients(t)[0], 1e-12)), low


def time_of_level(process: GaussianProcess, level: float) -> float:
    """The time in [0, 1] at which s / a is `level`, by bisection; the nearest end where there is none."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if noise_level(process, middle) > level else (middle, high)
    return high
