"""Correction with the posterior covariance of a Gaussian field: no backward pass through the network."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Guidance
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior
from guidekit.guidance.inverse.conditioned import Conditioned
from guidekit.guidance.inverse.conjugate import solved
from guidekit.guidance.inverse.measurement import Measurement, Pull
from guidekit.guidance.inverse.proximal import OfField
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.priors.gaussian import Gaussian
from guidekit.priors.gaussian_field import GaussianField
from guidekit.registry import register


@dataclasses.dataclass(frozen=True, eq=False)
class WithCovariance:
    """V A^T (A V A^T + sigma^2)^-1 (y - A E[x_0 | x_t]) with V = (C^-1 + a^2 / s^2)^-1, by conjugate gradients.

    Args:
        spread: V.
        steps: of conjugate gradients; none asks the network.
    """

    spread: OfField
    steps: int
    through = False

    def __call__(self, measured: Measurement, prediction: GaussianPrediction, pull: Pull) -> Tensor:
        """See `Correction`."""
        spread: Any = partial(self.spread.times, a=prediction.a, s=prediction.s)  # type: ignore[arg-type]  # or a row each

        def system(v: Tensor) -> Tensor:
            return measured.forward(spread(measured.adjoint(v))) + measured.variance * v

        return spread(measured.adjoint(solved(system, measured.residual(prediction.mean), self.steps)))

    def check(self, guidance: Guidance, prior: Prior) -> None:
        """See `Correction`: the field is one, and of the same states."""
        self.spread.check(guidance, prior)


@register("guidance", "field_correction")
def FieldCorrection(  # noqa: N802 - a preset
    likelihood: GaussianLikelihood, field: GaussianField | Gaussian, iterations: int = 30
) -> Guidance:
    """The estimate moves as if x_0 given x_t had the covariance of a Gaussian field fitted to the data.

    Exact where the prior is that field; calibrated on fields and mixtures with second-order steps; one network call a
    step and no backward pass.

    Args:
        likelihood: of a linear measurement.
        field: `gk.priors.GaussianField.fit(states)`, or the file of one; of the states of the prior.
        iterations: of conjugate gradients; they cost filters, no network calls.

    Raises:
        ValueError: fewer than one iteration.

    Source: this library's; the update is that of MMPS with another covariance.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    return Conditioned(likelihood, WithCovariance(OfField(field), iterations), "FieldCorrection")


__all__ = ["FieldCorrection", "WithCovariance"]
