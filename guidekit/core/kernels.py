"""Transition laws from a state at t to a cleaner state at u."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.core.generators import Draw
from guidekit.core.predictions import CategoricalPrediction, GaussianPrediction, sample_categorical
from guidekit.core.state import right_pad


@dataclasses.dataclass(frozen=True)
class GaussianKernel:
    """x_u ~ N(mean, std^2 I); std = 0 is a deterministic step.

    Args:
        mean: (B, *S), in the unit of the data.
        std: number or (B,).
        prediction: the belief it was made from.
    """

    mean: Tensor
    std: Tensor | float
    prediction: GaussianPrediction

    @property
    def deterministic(self) -> bool:
        """True when every draw is the mean."""
        return not isinstance(self.std, Tensor) and self.std == 0

    def sample(self, draw: Draw) -> Tensor:
        """One next state a row, (B, *S)."""
        if self.deterministic:
            return self.mean
        noise = draw.normal(self.mean.shape, self.mean.dtype)
        if isinstance(self.std, Tensor):
            return torch.addcmul(self.mean, right_pad(self.std, noise), noise)
        return torch.add(self.mean, noise, alpha=self.std)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of next states x (B, *S), summed over the state in float64, (B,) nats."""
        std = self.std if isinstance(self.std, Tensor) else torch.tensor(self.std, dtype=torch.float64)
        z = (x.double() - self.mean.double()) / right_pad(std.double(), x)
        size = self.mean[0].numel()
        return -0.5 * z.square().flatten(1).sum(1) - size * (std.double().log() + 0.5 * math.log(2 * math.pi))

    def shift(self, delta: Tensor) -> GaussianKernel:
        """The same kernel with its mean moved by delta (B, *S)."""
        return dataclasses.replace(self, mean=self.mean + delta)


@dataclasses.dataclass(frozen=True)
class CategoricalKernel:
    """Independent categorical next tokens.

    Args:
        log_probs: (B, L, C) over all C token ids a state may hold, nats.
        prediction: the belief it was made from.
    """

    log_probs: Tensor
    prediction: CategoricalPrediction
    deterministic = False

    def sample(self, draw: Draw) -> Tensor:
        """One next sequence a row, (B, L) int64."""
        return sample_categorical(self.log_probs, draw.uniform(self.log_probs.shape[:2]))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of next sequences z (B, L), (B,) nats."""
        return self.log_probs.double().gather(-1, z[..., None])[..., 0].sum(-1)

    def tilt(self, log_weights: Tensor) -> CategoricalKernel:
        """The kernel with probabilities multiplied by exp(log_weights), (B, L, C), and normalised again."""
        return dataclasses.replace(self, log_probs=torch.log_softmax(self.log_probs + log_weights, -1))


@dataclasses.dataclass(frozen=True)
class UnmaskingKernel:
    """Every masked token is revealed independently with probability `reveal`; revealed tokens follow the prediction.

    The law of `CategoricalKernel` for an absorbing process, without its (B, L, V + 1) table: token probabilities are
    looked at only where a token is revealed.

    Args:
        prediction: belief about the clean tokens.
        reveal: probability that a masked token is revealed in this step, number or (B,).
        mask_id: id of the mask token.
    """

    prediction: CategoricalPrediction
    reveal: Tensor | float
    mask_id: int
    deterministic = False

    def sample(self, draw: Draw) -> Tensor:
        """One next sequence a row, (B, L) int64."""
        z = self.prediction.z
        shown = (draw.uniform(z.shape) < right_pad(self.reveal, z)) & (z == self.mask_id)
        return reveal(self.prediction, shown, draw.named("token"))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of next sequences z (B, L), (B,) nats."""
        return self.categorical().log_prob(z)

    def tilt(self, log_weights: Tensor) -> CategoricalKernel:
        """See `CategoricalKernel.tilt`; log_weights (B, L, V + 1)."""
        return self.categorical().tilt(log_weights)

    def categorical(self) -> CategoricalKernel:
        """The same law as a table over V + 1 ids."""
        z, probs = self.prediction.z, self.prediction.probs.double()
        show = right_pad(self.reveal, probs)
        masked = (z == self.mask_id)[..., None]
        keep = torch.nn.functional.one_hot(z, probs.shape[-1] + 1).to(probs)
        moved = torch.cat([probs * show, torch.ones_like(probs[..., :1]) * (1 - show)], -1)
        return CategoricalKernel(torch.where(masked, moved, keep).log(), self.prediction)


@dataclasses.dataclass(frozen=True)
class ChosenUnmaskingKernel:
    """Exactly `count` masked tokens of every row, chosen uniformly, are revealed and follow the prediction.

    Rows with fewer masked tokens reveal all they have.

    Args:
        prediction: belief about the clean tokens.
        count: tokens revealed a row.
        mask_id: id of the mask token.
        time: (B,) time at which the last of them is revealed, where the sampler keeps one per row.
    """

    prediction: CategoricalPrediction
    count: int
    mask_id: int
    time: Tensor | None = None
    deterministic = False

    def sample(self, draw: Draw) -> Tensor:
        """One next sequence a row, (B, L) int64."""
        z = self.prediction.z
        masked = z == self.mask_id
        if not masked.any():
            return z
        order = draw.uniform(z.shape).masked_fill(~masked, 2.0)
        shown = (order.argsort(1).argsort(1) < self.count) & masked
        return reveal(self.prediction, shown, draw.named("token"))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of next sequences z (B, L), (B,) nats; -inf where another number of tokens was revealed."""
        before = self.prediction.z
        masked, changed = before == self.mask_id, before != z
        n = masked.sum(1).double()
        k = n.clamp_max(self.count)
        choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        index = z.clamp_max(self.prediction.log_probs.shape[-1] - 1)[..., None]
        tokens = self.prediction.log_probs.double().gather(-1, index)[..., 0]
        total = torch.where(changed, tokens, 0.0).sum(1) - choose
        legal = (changed <= masked).all(1) & ~(changed & (z == self.mask_id)).any(1) & (changed.sum(1) == k)
        return torch.where(legal, total, -math.inf)


Kernel = GaussianKernel | CategoricalKernel | UnmaskingKernel | ChosenUnmaskingKernel


def reveal(prediction: CategoricalPrediction, shown: Tensor, draw: Draw) -> Tensor:
    """Tokens z with the positions where shown (B, L) is True drawn from the prediction."""
    z = prediction.z
    u = draw.uniform(z.shape)
    return z.masked_scatter(shown, sample_categorical(prediction.log_probs[shown], u[shown]))
