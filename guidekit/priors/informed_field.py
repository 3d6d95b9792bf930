"""A Gaussian field that is told what is known of a state, as a network is that was trained with random masks."""

from __future__ import annotations

import torch
from torch import Tensor

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.state import column
from guidekit.priors.conditioned_field import conjugate_gradients
from guidekit.priors.gaussian_field import GaussianField
from guidekit.processes import GaussianProcess


class InformedField(Prior):
    """E[x_0 | x_t, what is known], exactly for the field, by conjugate gradients; every row with its own mask.

    A condition is (B, 2 C, *grid): the state where it is known and 0 elsewhere, then the mask. None of it is known: the
    field itself. A network with these channels beside those of x_t is used the same way, see `MaskedInput`.

    Args:
        field: of states (C, *grid).
        noise: standard deviation of what is known, in the unit of the data; above 0.
        tolerance: of the residual, beside the right-hand side.

    Raises:
        ValueError: a noise that is not above 0.
    """

    name = "informed gaussian field"
    process: GaussianProcess
    takes_known = True

    def __init__(self, field: GaussianField, noise: float = 0.01, tolerance: float = 1e-3) -> None:
        if not noise > 0:
            raise ValueError(f"noise must be above 0, got {noise}")
        self.field, self.noise, self.tolerance = field, noise, tolerance
        self.process, self.event_shape, self.dtype = field.process, field.event_shape, field.dtype
        self.codec, self.dataset = field.codec, field.dataset
        self.null_condition = torch.zeros(2 * self.event_shape[0], *self.event_shape[1:], dtype=self.dtype)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """See the class."""
        plain = self.field.predict(x, t)
        if condition is None:
            return plain
        known, mask = condition.to(x).chunk(2, 1)
        a, s = plain.a, plain.s
        variance = self.noise**2

        def spread(v: Tensor) -> Tensor:
            return self.field.conditional_covariance(v, a=a, s=s)

        def system(v: Tensor) -> Tensor:
            return mask * spread(mask * v) + variance * v

        gap = mask * (known - plain.mean)
        # Where little is unknown the system is nearly the noise's: scaled to 1 its numbers stay in range.
        scale = column(torch.as_tensor(variance + self._level(a, s), dtype=x.dtype), x)
        found = conjugate_gradients(lambda v: system(v) / scale, gap / scale, self.tolerance, 2000)
        return GaussianPrediction(plain.mean + spread(mask * found), x, a, s)

    def _level(self, a: Time, s: Time) -> Time:
        """The mean variance of an entry given x_t."""
        size = float(self.field.variances.mean())
        return size * s * s / (a * a * size + s * s)


__all__ = ["InformedField"]
