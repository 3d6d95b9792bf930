"""Pseudo-inverse guidance: what is unknown is taken for round, with the variance that a standard normal prior has."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior
from guidekit.core.state import column
from guidekit.guidance.inverse.conditioned import Conditioned
from guidekit.guidance.inverse.conjugate import dot, solved
from guidekit.guidance.inverse.measurement import Measurement, Pull, coefficients, level
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.registry import register

ROUNDS = 30
"""Steps of conjugate gradients for operators without singular values; they cost no network call."""


@dataclasses.dataclass(frozen=True, eq=False)
class Round:
    """(s^2 / a) J^T A^T (r^2 A A^T + sigma^2)^-1 (y - A E[x_0 | x_t]) with r^2 = c s^2 / (a^2 c + s^2).

    Where numbers are correlated J knows of variances far above c, and the move would lead past y many times over: it is
    shortened to where A of it comes nearest to what is missing. Where c is the variance nothing is shortened.

    Args:
        variance: c, of the prior that it is exact for.
    """

    variance: float
    through = True

    def __call__(self, measured: Measurement, prediction: GaussianPrediction, pull: Pull) -> Tensor:
        """See `Correction`."""
        a, s = level(prediction, prediction.mean)
        r2 = self.variance * s.square() / (a.square() * self.variance + s.square())
        move = pull(weighed(measured, prediction.mean, r2))
        seen, gap = measured.forward(move), measured.residual(prediction.mean)
        reach = dot(seen, gap) / dot(seen, seen).clamp_min(torch.finfo(torch.float64).tiny)
        return column(reach.clamp(0, 1).to(move), move) * move

    def check(self, guidance: Guidance, prior: Prior) -> None:
        """See `Correction`: any prior suits."""


def weighed(measured: Measurement, mean: Tensor, r2: Tensor) -> Tensor:
    """A^T (r^2 A A^T + sigma^2)^-1 (y - A mean) of states (B, *S): by singular values, where the operator has them."""
    if Fact.SVD in measured.operator.provides:
        seen = coefficients(measured)
        gap = torch.where(seen.seen, seen.y - seen.analyze(mean), 0.0)
        spread = column(r2.flatten(), gap) + seen.std.square()
        return seen.synthesize(torch.where(spread > 0, gap / spread, 0.0))
    size = column(r2.flatten(), measured.y)

    def system(v: Tensor) -> Tensor:
        return size * measured.forward(measured.adjoint(v)) + measured.variance * v

    return measured.adjoint(solved(system, measured.residual(mean), ROUNDS))


@register("guidance", "pigdm")
def PiGDM(likelihood: GaussianLikelihood, variance: float = 1.0) -> Guidance:  # noqa: N802 - a preset
    """Pseudo-inverse guidance as a score: x_0 given x_t is taken for round, one backward pass a step.

    Exact for the prior N(m, variance I); for others the spread is too wide where numbers are correlated. A move never
    leads past the measurement. Singular values of the operator are used where it has them, else conjugate gradients.

    Args:
        likelihood: of a linear measurement.
        variance: c, of a number of x_0 in the prior, above 0.

    Raises:
        ValueError: a variance that is not above 0.

    Source: Song et al. 2023, OpenReview 9_gsMA8MRKQ, eq. 7 and 8, with the whole gradient (their update drops a factor
    that depends on the time, and is biased for it at much noise); that moves are shortened is this library's.
    """
    if not 0 < variance < math.inf:
        raise ValueError(f"variance must be above 0 and finite, got {variance}")
    return Conditioned(likelihood, Round(variance), "PiGDM")


__all__ = ["PiGDM", "Round", "weighed"]
