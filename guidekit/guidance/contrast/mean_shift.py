"""What linear classifier-free guidance consists of: a mean shift, and contrastive components of two signs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.contrast.branches import CONDITIONAL, Branch
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.schedules import noise_level


@dataclasses.dataclass(frozen=True)
class LinearModel:
    """Gaussian fits of the data of one condition and of all data.

    Args:
        mean_c, mean_0: (D,).
        covariance_c, covariance_0: (D, D).
    """

    mean_c: Tensor
    mean_0: Tensor
    covariance_c: Tensor
    covariance_0: Tensor

    @classmethod
    def fit(cls, conditional: Tensor, everything: Tensor, shrinkage: float = 0.0) -> LinearModel:
        """From data (N, ...) of the condition and of all conditions.

        Args:
            conditional, everything: data.
            shrinkage: share of the covariances replaced by their mean variance, in [0, 1], for few samples.
        """
        pairs = []
        for data in (conditional, everything):
            flat = data.flatten(1).double()
            covariance = flat.T.cov().reshape(flat.shape[1], flat.shape[1])
            round_ = covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
            pairs.append((flat.mean(0), (1 - shrinkage) * covariance + shrinkage * round_))
        return cls(pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1])

    def gains(self, level: float) -> tuple[Tensor, Tensor]:
        """A = S (S + level^2)^-1 of both fits, (D, D): how the clean estimate follows the noisy state."""
        eye = torch.eye(len(self.mean_c), dtype=torch.float64)
        pairs = (self.covariance_c.double(), self.covariance_0.double())
        return tuple(torch.linalg.solve(s + level**2 * eye, s).T for s in pairs)


def decomposition(model: LinearModel, y: Tensor, level: float) -> dict[str, Tensor]:
    """D_c - D_0 of the linear model at states y = x / a (B, D), as three terms that add up to it.

    Args:
        model: Gaussian fits.
        y: noisy states with signal coefficient 1, (B, D).
        level: their noise std.

    Returns:
        "mean shift" (I - A_0)(m_c - m_0); "positive" and "negative": parts of (A_c - A_0)(y - m_c) along eigenvectors
        with positive and with negative eigenvalue; each (B, D) float64.

    Source: Li et al. 2025, arXiv:2505.19210, eq. 12.
    """
    gain_c, gain_0 = model.gains(level)
    shift = (model.mean_c - model.mean_0).double()
    shift = shift - gain_0 @ shift
    difference = gain_c - gain_0
    values, basis = torch.linalg.eigh(0.5 * (difference + difference.T))
    coordinates = (y.double() - model.mean_c.double()) @ basis * values
    return {
        "mean shift": shift.expand(len(y), -1),
        "positive": (coordinates * (values > 0)) @ basis.T,
        "negative": (coordinates * (values < 0)) @ basis.T,
    }


@dataclasses.dataclass(frozen=True)
class LinearCFG(Contrast):
    """D_c + the three terms of a linear model's CFG direction with weights of their own; no unconditional call.

    With all weights w it is `CFG(w + 1)` where the model is the truth.

    Args:
        model: Gaussian fits of the data of the condition and of all data.
        mean, positive, negative: weights of the terms; 0 leaves a term out.

    Source: Li et al. 2025, arXiv:2505.19210, section 4.
    """

    model: LinearModel
    mean: float = 1.0
    positive: float = 1.0
    negative: float = 1.0
    tokens = False
    needs = ("conditional prior and condition=", "linear model (Python)")

    def check(self, run: Run) -> None:
        """The model must be of the prior's states."""
        super().check(run)
        if (
            not isinstance(self.model, LinearModel)
            or len(self.model.mean_c) != torch.Size(run.prior.event_shape).numel()
        ):
            raise GuidanceError(f"LinearCFG needs a LinearModel of the states of this prior ({run.prior.name})")

    def branches(self, run: Run) -> Sequence[Branch]:
        """The condition alone."""
        return (CONDITIONAL, CONDITIONAL)

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> GaussianPrediction:
        """See `Guidance.denoise`."""
        prediction, process = inner(x, t, condition), inner.run.prior.process
        a, _ = process.coefficients(t)
        y = x.flatten(1).double() / max(a, 1e-6)
        terms = decomposition(self.model, y, noise_level(process, t))
        weights = {"mean shift": self.mean, "positive": self.positive, "negative": self.negative}
        change = sum(weights[name] * term for name, term in terms.items()).view_as(x)
        return dataclasses.replace(prediction, mean=prediction.mean + change.to(prediction.mean))
