"""Moment matching: the covariance of what is unknown is the Jacobian of the denoiser."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior
from guidekit.core.state import column
from guidekit.guidance.inverse.conditioned import Conditioned
from guidekit.guidance.inverse.conjugate import solved
from guidekit.guidance.inverse.measurement import Measurement, Pull
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.registry import register

LEAST_SHARE = 1e-2
"""Of the largest row sum of a measurement, below which others count as that."""


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """V A^T (A V A^T + sigma^2)^-1 (y - A E[x_0 | x_t]) with V = Cov[x_0 | x_t] = (s^2 / a) J, by conjugate gradients.

    Args:
        steps: of conjugate gradients, one product with J^T each, and one for the answer.
    """

    steps: int
    through = True

    def __call__(self, measured: Measurement, prediction: GaussianPrediction, pull: Pull) -> Tensor:
        """See `Correction`."""

        def system(v: Tensor) -> Tensor:
            return measured.forward(pull(measured.adjoint(v))) + measured.variance * v

        found = solved(system, measured.residual(prediction.mean), self.steps, measured.variance)
        return pull(measured.adjoint(found))

    def check(self, guidance: Guidance, prior: Prior) -> None:
        """See `Correction`: any prior suits."""


@dataclasses.dataclass(frozen=True, eq=False)
class RowSums:
    """As `Moments`, with the diagonal of row sums diag(A V A^T 1) for A V A^T: two products with J^T."""

    through = True

    def __call__(self, measured: Measurement, prediction: GaussianPrediction, pull: Pull) -> Tensor:
        """See `Correction`."""
        gap = measured.residual(prediction.mean)
        sums = measured.forward(pull(measured.adjoint(torch.ones_like(gap))))
        # Row sums can be negative, those of a network's Jacobian for no reason: the least that counts is a share.
        size = sums.abs().flatten(1).amax(1)
        spread = torch.maximum(sums, column(LEAST_SHARE * size, sums)) + measured.variance
        return pull(measured.adjoint(torch.where(spread > 0, gap / spread, 0.0)))

    def check(self, guidance: Guidance, prior: Prior) -> None:
        """See `Correction`: any prior suits."""


@register("guidance", "mmps")
def MMPS(likelihood: GaussianLikelihood, iterations: int = 3) -> Guidance:  # noqa: N802 - a preset
    """Moment matching: the estimate moves as if x_0 given x_t were Gaussian, with the covariance that the network has.

    Exact for Gaussian priors where the solve is (as many iterations as different singular values at most); calibrated
    on mixtures, too, with second-order steps. One iteration gives the best pictures, three the best posterior. Needs
    no more of the operator than its adjoint.

    Args:
        likelihood: of a linear measurement.
        iterations: of conjugate gradients, one backward pass each; one more is always taken.

    Raises:
        ValueError: fewer than one iteration.

    Source: Rozet et al. 2024, arXiv:2405.13712, eq. 14 to 17, with conjugate gradients.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    return Conditioned(likelihood, Moments(iterations), "MMPS")


@register("guidance", "tmpd")
def TMPD(likelihood: GaussianLikelihood) -> Guidance:  # noqa: N802 - a preset
    """Moment matching without a solve: the covariance of the measurement is replaced by its row sums, on a diagonal.

    Two backward passes a step. Exact for Gaussian priors only where A C A^T is diagonal, such as masks of independent
    numbers; elsewhere correlations are counted as if they were one number's own variance.

    Args:
        likelihood: of a linear measurement.

    Source: Boys et al. 2023, arXiv:2310.06721, section 3, the diagonal form for high dimensions.
    """
    return Conditioned(likelihood, RowSums(), "TMPD")


__all__ = ["MMPS", "TMPD", "Moments", "RowSums"]
