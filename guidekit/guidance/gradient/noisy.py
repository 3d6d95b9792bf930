"""Guidance by the gradient of a value of noisy states; the network of the prior is not looked through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.run import Run
from guidekit.core.state import column
from guidekit.guidance.values.learned import refuse_other_noise
from guidekit.processes import GaussianProcess

LEAST = 0.01
"""Signal over noise below which a state tells nothing: s^2 / a would blow up what little a gradient is wrong by."""


@dataclasses.dataclass(frozen=True)
class ClassifierGuidance(Guidance):
    """score(x_t) + scale * grad_x value(x_t, t): with the exact value and scale 1 the score of the tilted law.

    The value is log p(y | x_t) of a classifier of noisy states or log E[exp(eta r(x_0)) | x_t]. Where next to no
    signal is left (a < `LEAST` s), nothing is added. The gradient is taken per sample.

    Args:
        value: (x (B, *S), t) -> (B,), nats, differentiable.
        scale: a number or a function of t; 0 is unguided.

    Source: Dhariwal & Nichol 2021, arXiv:2105.05233, eq. 10; for values Oertell et al. 2025, arXiv:2505.21666, eq. 6.
    """

    value: Callable[[Tensor, Time], Tensor]
    scale: float | Callable[[float], float] = 1.0

    def check(self, run: Run) -> None:
        """A gradient needs a state of real numbers."""
        if not isinstance(run.prior.process, GaussianProcess):
            kind = type(run.prior.process).__name__
            raise GuidanceError(
                f"ClassifierGuidance moves real-valued states, and this prior ({run.prior.name}) is {kind}: use DCBG"
            )
        refuse_other_noise(self.value, run.prior)

    def denoise(self, inner: Denoiser, x: Tensor, t: Time, condition: Tensor | None) -> GaussianPrediction:
        """The inner belief, its mean moved by scale s^2 / a grad value."""
        prediction = inner(x, t, condition)
        scale = self.scale(t) if callable(self.scale) else self.scale
        if scale == 0:
            return prediction
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.value(leaf, t).sum(), leaf)
        inner.run.ledger.value_calls += len(x)
        a, s = (torch.as_tensor(c, dtype=x.dtype, device=x.device) for c in (prediction.a, prediction.s))
        step = torch.where(a > LEAST * s, s * s / a.clamp_min(1e-12), 0.0)
        mean = prediction.mean + scale * column(step, x) * gradient.to(x)
        return dataclasses.replace(prediction, mean=mean)
