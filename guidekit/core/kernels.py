"""Transition laws from a state at t to a cleaner state at u.

A kernel has `sample(draw)`, `log_prob(state)` and `memory(state)`, what a population is to remember after the move. A
tilted kernel keeps the one it was made from as `base`, so that a particle filter can correct for the difference.
"""

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

    def memory(self, state: Tensor) -> dict[str, Tensor]:
        """Nothing to remember."""
        return {}

    def shift(self, delta: Tensor) -> GaussianKernel:
        """The same kernel with its mean moved by delta (B, *S)."""
        return dataclasses.replace(self, mean=self.mean + delta)


class _TokenKernel:
    """What kernels of tokens share."""

    deterministic = False
    base: _TokenKernel | None = None

    def log_ratio(self, z: Tensor) -> Tensor:
        """log base(z) - log self(z) of next sequences z (B, L), (B,) nats: the weight that undoes a tilt."""
        return self.base.log_prob(z) - self.log_prob(z)

    def memory(self, state: Tensor) -> dict[str, Tensor]:
        """Nothing but the log-ratio of a tilted kernel."""
        return {} if self.base is None else {"log_ratio": self.log_ratio(state)}


@dataclasses.dataclass(frozen=True)
class CategoricalKernel(_TokenKernel):
    """Independent categorical next tokens.

    Args:
        log_probs: (B, L, C) over all C token ids a state may hold, nats.
        prediction: the belief it was made from.
        base: what it was tilted from.
    """

    log_probs: Tensor
    prediction: CategoricalPrediction
    base: _TokenKernel | None = None

    def sample(self, draw: Draw) -> Tensor:
        """One next sequence a row, (B, L) int64."""
        return sample_categorical(self.log_probs, draw.uniform(self.log_probs.shape[:2]))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of next sequences z (B, L), (B,) nats."""
        return self.log_probs.double().gather(-1, z[..., None])[..., 0].sum(-1)

    def categorical(self) -> CategoricalKernel:
        """The kernel as a table: itself."""
        return self

    def tilt(self, log_weights: Tensor) -> CategoricalKernel:
        """The kernel with probabilities multiplied by exp(log_weights), (B, L, C), and normalised again."""
        tilted = torch.log_softmax(self.log_probs.double() + log_weights, -1)
        return dataclasses.replace(self, log_probs=tilted, base=self.base or self)

    def accelerate(self, log_ratios: Tensor) -> CategoricalKernel:
        """The kernel with jumps away from the present tokens exp(log_ratios) times as frequent; see `_faster`."""
        jumps = self.log_probs.double().exp().scatter(-1, self.prediction.z[..., None], 0.0)
        table = _faster(jumps, jumps * log_ratios.clamp_max(80).exp(), self.prediction.z[..., None])
        return dataclasses.replace(self, log_probs=table.log(), base=self.base or self)


@dataclasses.dataclass(frozen=True)
class JumpKernel(_TokenKernel):
    """One Euler step of a continuous-time chain: token l jumps to y with probability (rates + noise)[l, y] * step.

    Where the jumps of a token add up to more than one, they are scaled down to one.

    Args:
        rates: (B, L, C) rates of the reversed chain, non-negative, zero at the present tokens.
        step: length of the step, in units of time.
        prediction: the belief it was made from.
        noise: (B, L, C) rates of noising that take place beside them, which guidance leaves as they are.
        base: what it was accelerated from.
    """

    rates: Tensor
    step: float
    prediction: CategoricalPrediction
    noise: Tensor | float = 0.0
    base: _TokenKernel | None = None

    def categorical(self) -> CategoricalKernel:
        """The same law as a table over C ids."""
        table = _with_stay((self.rates + self.noise) * self.step, self.prediction.z[..., None])
        return CategoricalKernel(table.log(), self.prediction, self.base)

    def sample(self, draw: Draw) -> Tensor:
        """One next sequence a row, (B, L) int64."""
        return self.categorical().sample(draw)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of next sequences z (B, L), (B,) nats."""
        return self.categorical().log_prob(z)

    def tilt(self, log_weights: Tensor) -> CategoricalKernel:
        """See `CategoricalKernel.tilt`."""
        return dataclasses.replace(self.categorical().tilt(log_weights), base=self.base or self)

    def accelerate(self, log_ratios: Tensor) -> CategoricalKernel:
        """The kernel with reverse rates multiplied by exp(log_ratios), (B, L, C), cut at exp(80); see `_faster`."""
        faster = self.rates * log_ratios.clamp_max(80).exp()
        jumps, faster = ((rates + self.noise) * self.step for rates in (self.rates, faster))
        table = _faster(jumps, faster, self.prediction.z[..., None])
        return CategoricalKernel(table.log(), self.prediction, self.base or self)


@dataclasses.dataclass(frozen=True)
class UnmaskingKernel(_TokenKernel):
    """Every masked token is revealed independently with probability `reveal`; revealed tokens follow the prediction.

    The law of `CategoricalKernel` for an absorbing process, without its (B, L, V + 1) table: token probabilities are
    looked at only where a token is revealed.

    Args:
        prediction: belief about the clean tokens.
        reveal: probability that a masked token is revealed in this step, number or (B,).
        mask_id: id of the mask token.
        remask: probability that a revealed token is masked again, number or (B, L).
    """

    prediction: CategoricalPrediction
    reveal: Tensor | float
    mask_id: int
    remask: Tensor | float = 0.0

    def sample(self, draw: Draw) -> Tensor:
        """One next sequence a row, (B, L) int64."""
        z = self.prediction.z
        u, masked = draw.uniform(z.shape), z == self.mask_id
        shown = (u < right_pad(self.reveal, z)) & masked
        new = reveal(self.prediction, shown, draw.named("token"))
        if isinstance(self.remask, float) and self.remask == 0:
            return new
        return new.masked_fill((u < self.remask) & ~masked, self.mask_id)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of next sequences z (B, L), (B,) nats."""
        return self.categorical().log_prob(z)

    def tilt(self, log_weights: Tensor) -> CategoricalKernel:
        """See `CategoricalKernel.tilt`; log_weights (B, L, V + 1)."""
        return self.categorical().tilt(log_weights)

    def accelerate(self, log_ratios: Tensor) -> CategoricalKernel:
        """See `CategoricalKernel.accelerate`; log_ratios (B, L, V + 1)."""
        return self.categorical().accelerate(log_ratios)

    def categorical(self) -> CategoricalKernel:
        """The same law as a table over V + 1 ids."""
        z, probs = self.prediction.z, self.prediction.probs.double()
        show = right_pad(self.reveal, probs)
        masked = (z == self.mask_id)[..., None]
        lost = torch.as_tensor(self.remask, dtype=torch.float64, device=z.device).expand(z.shape)[..., None]
        keep = torch.nn.functional.one_hot(z, probs.shape[-1] + 1).to(probs) * (1 - lost)
        keep[..., -1:] += lost
        moved = torch.cat([probs * show, torch.ones_like(probs[..., :1]) * (1 - show)], -1)
        return CategoricalKernel(torch.where(masked, moved, keep).log(), self.prediction)


@dataclasses.dataclass(frozen=True)
class ChosenUnmaskingKernel(_TokenKernel):
    """Exactly `count` masked tokens of every row, chosen uniformly, are revealed and follow the prediction.

    Rows with fewer masked tokens reveal all they have.

    Args:
        prediction: belief about the clean tokens.
        count: tokens revealed a row.
        mask_id: id of the mask token.
        time: (B,) time at which the last of them is revealed, where the sampler keeps one per row.
        base: what it was tilted from.
    """

    prediction: CategoricalPrediction
    count: int
    mask_id: int
    time: Tensor | None = None
    base: _TokenKernel | None = None

    def sample(self, draw: Draw) -> Tensor:
        """One next sequence a row, (B, L) int64."""
        z = self.prediction.z
        masked = z == self.mask_id
        if not masked.any():
            return z
        order = draw.uniform(z.shape).masked_fill(~masked, 2.0)
        shown = (order.argsort(1).argsort(1) < self.count) & masked
        return reveal(self.prediction, shown, draw.named("token"))

    def memory(self, state: Tensor) -> dict[str, Tensor]:
        """The time that has been reached, and the log-ratio of a tilted kernel."""
        return super().memory(state) | ({} if self.time is None else {"time": self.time})

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

    def tilt(self, log_weights: Tensor) -> ChosenUnmaskingKernel:
        """The kernel with the law of a revealed token multiplied by exp(log_weights), (B, L, V + 1 or V).

        Which positions are revealed stays as it was: the entry of the mask plays no part.
        """
        size = self.prediction.log_probs.shape[-1]
        log_probs = torch.log_softmax(self.prediction.log_probs.double() + log_weights[..., :size], -1)
        prediction = dataclasses.replace(self.prediction, log_probs=log_probs)
        return dataclasses.replace(self, prediction=prediction, base=self.base or self)


def _with_stay(jumps: Tensor, z: Tensor) -> Tensor:
    """Probabilities (B, L, C) from those of jumps, scaled down to one where they exceed it; z (B, L, 1)."""
    jumps = jumps / jumps.sum(-1, keepdim=True).clamp_min(1.0)
    return jumps.scatter(-1, z, (1 - jumps.sum(-1, keepdim=True)).clamp_min(0))


def _faster(jumps: Tensor, faster: Tensor, z: Tensor) -> Tensor:
    """Probabilities (B, L, C) of a step whose jumps (B, L, C) occur at other rates in the same proportion as `faster`.

    A token stays with probability stay^(sum faster / sum jumps): jumps at a constant rate over the step. Nothing has to
    be cut off where rates are large, so no move that was possible becomes impossible.
    """
    total, wanted = jumps.sum(-1, keepdim=True), faster.sum(-1, keepdim=True)
    stay = (1 - total).clamp(0, 1) ** (wanted / total.clamp_min(1e-300))
    stay = torch.where(wanted > 0, stay, 1.0)
    return (faster * ((1 - stay) / wanted.clamp_min(1e-300))).scatter(-1, z, stay)


Kernel = GaussianKernel | CategoricalKernel | JumpKernel | UnmaskingKernel | ChosenUnmaskingKernel


def reveal(prediction: CategoricalPrediction, shown: Tensor, draw: Draw) -> Tensor:
    """Tokens z with the positions where shown (B, L) is True drawn from the prediction."""
    z = prediction.z
    u = draw.uniform(z.shape)
    return z.masked_scatter(shown, sample_categorical(prediction.log_probs[shown], u[shown]))
