"""What we believe about the clean state, given a noisy one."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.generators import Draw
from guidekit.core.state import right_pad


@dataclasses.dataclass(frozen=True)
class GaussianPrediction:
    """Posterior mean of x_0 given x = a x_0 + s eps; the noise and the score follow from it.

    Args:
        mean: E[x_0 | x], (B, *S), in the unit of the data.
        x: the noisy state it was made from, (B, *S).
        a, s: signal and noise coefficients at its time; numbers or (B,).
        parts: what it was combined from, by name; later hooks read it instead of calling the network again.
    """

    mean: Tensor
    x: Tensor
    a: Tensor | float
    s: Tensor | float
    parts: dict = dataclasses.field(default_factory=dict)

    @property
    def noise(self) -> Tensor:
        """E[eps | x] = (x - a mean) / s, (B, *S)."""
        return (self.x - right_pad(self.a, self.x) * self.mean) / right_pad(self.s, self.x)

    @property
    def score(self) -> Tensor:
        """Gradient of log p_t at x by Tweedie's formula, -noise / s, (B, *S)."""
        return -self.noise / right_pad(self.s, self.x)

    @property
    def clean(self) -> Tensor:
        """The point estimate of x_0: the posterior mean."""
        return self.mean

    def with_parts(self, **parts: object) -> GaussianPrediction:
        """The same belief, with more parts remembered."""
        return dataclasses.replace(self, parts={**self.parts, **parts})


@dataclasses.dataclass(frozen=True)
class CategoricalPrediction:
    """Marginal law of every clean token given the noisy sequence.

    Args:
        log_probs: log p(x_0^l = v | z), normalised over v, (B, L, V), in nats.
        z: the noisy tokens it was made from, (B, L) int64.
        parts: what it was combined from, by name.
    """

    log_probs: Tensor
    z: Tensor
    parts: dict = dataclasses.field(default_factory=dict)

    @property
    def probs(self) -> Tensor:
        """p(x_0^l = v | z), (B, L, V)."""
        return self.log_probs.exp()

    @property
    def clean(self) -> Tensor:
        """The point estimate of x_0: the most probable token at every position, (B, L) int64."""
        return self.log_probs.argmax(-1)

    def sample(self, draw: Draw) -> Tensor:
        """Clean tokens drawn independently at every position, (B, L) int64."""
        return sample_categorical(self.log_probs, draw.uniform(self.z.shape))

    def with_parts(self, **parts: object) -> CategoricalPrediction:
        """The same belief, with more parts remembered."""
        return dataclasses.replace(self, parts={**self.parts, **parts})


Prediction = GaussianPrediction | CategoricalPrediction


def sample_categorical(log_probs: Tensor, u: Tensor) -> Tensor:
    """Index drawn by inverse CDF in double precision; log_probs (..., V), u (...) uniform on [0, 1); returns (...).

    One uniform number a draw instead of V Gumbel numbers; float64 because float32 truncates the tails, which lowers
    the effective temperature (Zheng et al. 2024, arXiv:2409.02908).
    """
    cdf = log_probs.double().exp().cumsum(-1)
    target = (u.double() * cdf[..., -1])[..., None]
    # `right`: a point that falls on an edge belongs to the next category, so probability zero is never drawn.
    return torch.searchsorted(cdf, target, right=True)[..., 0].clamp_max(log_probs.shape[-1] - 1)
