"""What linear classifier-free guidance consists of: a mean shift, and contrastive components of two signs."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.guidance import GuidanceError
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.requirements import Fact
from guidekit.core.state import column
from guidekit.guidance.contrast import CONDITIONS, Answers, Contrast, Number, Rule, check_finite, contrast
from guidekit.guidance.contrast.rule import NEVER
from guidekit.guidance.contrast.schedules import noise_level
from guidekit.registry import register


@register("tool", "linear_model")
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

    def gains(self, level: float | Tensor) -> tuple[Tensor, Tensor]:
        """A = S (S + level^2)^-1 of both fits, (D, D) or (B, D, D): how the clean estimate follows the noisy state."""
        eye = torch.eye(len(self.mean_c), dtype=torch.float64)
        noise = torch.as_tensor(level, dtype=torch.float64)[..., None, None] ** 2 * eye
        gain_c, gain_0 = (
            torch.linalg.solve(s.double() + noise, s.double().expand_as(noise)).mT
            for s in (self.covariance_c, self.covariance_0)
        )
        return gain_c, gain_0


@register("tool", "decomposition")
def decomposition(model: LinearModel, y: Tensor, level: float | Tensor) -> dict[str, Tensor]:
    """D_c - D_0 of the linear model at states y = x / a (B, D), as three terms that add up to it.

    Args:
        model: Gaussian fits.
        y: noisy states with signal coefficient 1, (B, D).
        level: their noise std, a number or (B,).

    Returns:
        "mean shift" (I - A_0)(m_c - m_0); "positive" and "negative": parts of (A_c - A_0)(y - m_c) along eigenvectors
        with positive and with negative eigenvalue; each (B, D) float64.

    Source: Li et al. 2025, arXiv:2505.19210, eq. 12.
    """
    gain_c, gain_0 = model.gains(level)
    shift = (model.mean_c - model.mean_0).double()
    shift = shift - gain_0 @ shift
    difference = gain_c - gain_0
    values, basis = torch.linalg.eigh(0.5 * (difference + difference.mT))
    coordinates = ((y.double() - model.mean_c.double())[:, None] @ basis)[:, 0] * values
    back = lambda part: (part[:, None] @ basis.mT)[:, 0]  # noqa: E731
    return {
        "mean shift": shift.expand(len(y), -1),
        "positive": back(coordinates * (values > 0)),
        "negative": back(coordinates * (values < 0)),
    }


@register("guidance", "linear_cfg")
def LinearCFG(  # noqa: N802 - a preset
    model: LinearModel, mean: float = 1.0, positive: float = 1.0, negative: float = 1.0
) -> Contrast:
    """D_c + the three terms of a linear model's CFG direction with weights of their own; no unconditional call.

    With all weights w it is `CFG(w + 1)` where the model is the truth.

    Args:
        model: Gaussian fits of the data of the condition and of all data.
        mean, positive, negative: weights of the terms; 0 leaves a term out.

    Source: Li et al. 2025, arXiv:2505.19210, section 4.
    """

    check_finite("LinearCFG", mean=mean, positive=positive, negative=negative)
    weights = {"mean shift": mean, "positive": positive, "negative": negative}

    def combine(answers: Answers, weight: Number) -> Prediction:
        question, process = answers.question, answers.question.process
        a = torch.as_tensor(process.coefficients(question.t)[0], dtype=torch.float64).clamp_min(1e-6)
        y = (question.x.double() / column(a, question.x)).flatten(1)
        terms = decomposition(model, y, noise_level(process, question.t))
        change = torch.stack([weights[name] * term for name, term in terms.items()]).sum(0)
        return answers.own.map(lambda support, clean: clean + change.view_as(clean).to(clean.dtype))

    def fits(name: str, prior: Prior) -> None:
        whole = isinstance(model, LinearModel) and Fact.PARTS not in prior.provides
        if not whole or len(model.mean_c) != torch.Size(prior.event_shape).numel():
            raise GuidanceError(f"{name} needs a LinearModel of the states of this prior ({prior.name})")

    rule = Rule(combine, NEVER, timeless=False, requires=CONDITIONS | {Fact.FLOW}, check=fits)
    return contrast("LinearCFG", (), rule, 1.0)
