"""Discrete noising: a token survives to time t with probability a(t), otherwise it is drawn from a limit law."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.generators import Draw
from guidekit.core.kernels import CategoricalKernel, ChosenUnmaskingKernel, UnmaskingKernel
from guidekit.core.predictions import CategoricalPrediction
from guidekit.core.state import right_pad
from guidekit.processes.schedules import Number


@dataclasses.dataclass(frozen=True)
class LogLinear:
    """Survival a(t) = 1 - t. Source: Sahoo et al. 2024, arXiv:2406.07524."""

    def __call__(self, t: Number) -> Number:
        """a(t)."""
        return 1 - t

    def inverse(self, a: Number) -> Number:
        """The time at which the survival is a."""
        return 1 - a


@dataclasses.dataclass(frozen=True)
class CosineSurvival:
    """Survival a(t) = cos(pi t / 2)."""

    def __call__(self, t: Number) -> Number:
        """a(t)."""
        return (torch if isinstance(t, Tensor) else math).cos(t * (math.pi / 2))

    def inverse(self, a: Number) -> Number:
        """The time at which the survival is a."""
        return (torch if isinstance(a, Tensor) else math).acos(a) * (2 / math.pi)


@dataclasses.dataclass(frozen=True)
class DiscreteProcess:
    """Tokens keep their value with probability a(t) and are otherwise replaced by a draw from the limit law.

    Args:
        vocab_size: V, number of clean tokens; a prior fills it in where it is 0.
        survival: t -> a(t), 1 at t = 0 and 0 at t = 1.
        pinned: id that is never noised (padding), or None.
    """

    vocab_size: int = 0
    survival: LogLinear | CosineSurvival = LogLinear()
    pinned: int | None = None

    def grid(self, steps: int) -> list[float]:
        """`steps` + 1 times from 1 to 0, evenly spaced."""
        return [1 - i / steps for i in range(steps)] + [0.0]

    def prediction(self, log_probs: Tensor, z: Tensor) -> CategoricalPrediction:
        """The belief with clean-token log-probabilities (B, L, V) at state z."""
        return CategoricalPrediction(log_probs, z)


@dataclasses.dataclass(frozen=True)
class Masked(DiscreteProcess):
    """Absorbing process: a lost token becomes the mask, whose id is V.

    Source: Austin et al. 2021, arXiv:2107.03006; Sahoo et al. 2024, arXiv:2406.07524.
    """

    @property
    def mask_id(self) -> int:
        """Id of the mask token."""
        return self.vocab_size

    @property
    def states(self) -> int:
        """Number of ids a noisy token may have, V + 1."""
        return self.vocab_size + 1

    def sample_limit(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """Fully masked sequences of shape (B, L)."""
        return torch.full(shape, self.mask_id, device=draw.random.device)

    def noise(self, x0: Tensor, t: Number, u: Tensor) -> Tensor:
        """Noisy tokens for clean x0 (B, L), t number or (B,), u (B, L) uniform."""
        lost = u >= right_pad(self.survival(t), u)
        if self.pinned is not None:
            lost &= x0 != self.pinned
        return x0.masked_fill(lost, self.mask_id)

    def transition(self, t: float, u: float) -> Tensor:
        """Matrix q(z_t | z_u) over V + 1 ids, (V + 1, V + 1) float64, rows sum to one."""
        keep = self.survival(t) / self.survival(u)
        matrix = torch.eye(self.states, dtype=torch.float64) * keep
        matrix[:, self.mask_id] += 1 - keep
        return matrix

    def prediction(self, log_probs: Tensor, z: Tensor) -> CategoricalPrediction:
        """The belief at state z, with revealed tokens carried over as certain."""
        known = z != self.mask_id
        certain = F.one_hot(z.masked_fill(~known, 0), log_probs.shape[-1]).to(log_probs).log()
        return CategoricalPrediction(torch.where(known[..., None], certain, log_probs), z)

    def reverse_kernel(self, prediction: CategoricalPrediction, t: Number, u: Number) -> UnmaskingKernel:
        """Law of z_u given z_t: a masked token is revealed with probability (a_u - a_t) / (1 - a_t)."""
        a, b = self.survival(t), self.survival(u)
        return UnmaskingKernel(prediction, (b - a) / (1 - a), self.mask_id)

    def first_hitting(
        self, prediction: CategoricalPrediction, count: int, t: Number, draw: Draw
    ) -> ChosenUnmaskingKernel:
        """Law of the state when `count` more tokens have been revealed, and the time (B,) at which that happens.

        The n masked tokens survive from t to u with probability (1 - a_u) / (1 - a_t) each, so the first of them is
        revealed when that ratio falls to U^(1/n).

        Source: Zheng et al. 2024, arXiv:2409.02908, prop. 4.1.
        """
        z = prediction.z
        n = (z == self.mask_id).sum(1, keepdim=True).double()
        if not n.any():  # everything is revealed: time stands still
            return ChosenUnmaskingKernel(prediction, count, self.mask_id, t)
        left = n - torch.arange(count, device=z.device)
        log_u = draw.uniform((len(z), count)).log() / left.clamp_min(1)
        log_ratio = torch.where(left >= 1, log_u, 0.0).sum(1)
        a = self.survival(t)
        u = self.survival.inverse(1 - (1 - a) * log_ratio.exp())
        return ChosenUnmaskingKernel(prediction, count, self.mask_id, u.to(torch.float64).expand(len(z)))


@dataclasses.dataclass(frozen=True)
class Uniform(DiscreteProcess):
    """A lost token is replaced by one drawn uniformly from the V clean tokens.

    Args:
        posterior: "mix" averages q(z_u | z_t, x_0) over the predicted x_0, which is the exact kernel for exact
            predictions; "plug_in" puts the predicted probabilities into the posterior's formula.

    Source: Austin et al. 2021, arXiv:2107.03006; "plug_in" Schiff et al. 2024, arXiv:2412.10193.
    """

    posterior: str = "mix"

    def __post_init__(self) -> None:
        """Refuse an unknown posterior."""
        if self.posterior not in ("mix", "plug_in"):
            raise ValueError(f"no posterior {self.posterior!r}; there are 'mix' and 'plug_in'")

    @property
    def states(self) -> int:
        """Number of ids a noisy token may have, V."""
        return self.vocab_size

    def sample_limit(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """Uniform tokens of shape (B, L)."""
        return (draw.uniform(shape) * self.vocab_size).long()

    def noise(self, x0: Tensor, t: Number, u: Tensor) -> Tensor:
        """Noisy tokens for clean x0 (B, L), t number or (B,), u (B, L) uniform."""
        a = right_pad(self.survival(t), u)
        lost = u >= a
        if self.pinned is not None:
            lost &= x0 != self.pinned
        # A lost token's u is uniform on [a, 1): stretched, it chooses the replacement.
        other = (
            (u - a) / (1 - a).clamp_min(1e-12) if isinstance(a, Tensor) else (u - a) / max(1 - a, 1e-12)
        ) * self.vocab_size
        return torch.where(lost, other.long().clamp(0, self.vocab_size - 1), x0)

    def transition(self, t: float, u: float) -> Tensor:
        """Matrix q(z_t | z_u) over V ids, (V, V) float64, rows sum to one."""
        keep = self.survival(t) / self.survival(u)
        eye = torch.eye(self.vocab_size, dtype=torch.float64)
        return eye * keep + (1 - keep) / self.vocab_size

    def reverse_kernel(self, prediction: CategoricalPrediction, t: Number, u: Number) -> CategoricalKernel:
        """Law of z_u given z_t, (B, L, V).

        With d(x) = a_t [x = z_t] + (1 - a_t) / V the posterior for a clean token x is proportional to
        (a_{t|u} [z_u = z_t] + (1 - a_{t|u}) / V) (a_u [z_u = x] + (1 - a_u) / V) / d(x).
        """
        size, probs = self.vocab_size, prediction.probs.double()
        a, b = (right_pad(self.survival(v), probs) for v in (t, u))
        keep = a / b
        here = F.one_hot(prediction.z, size).to(probs)
        forward = keep * here + (1 - keep) / size
        evidence = a * here + (1 - a) / size
        weight = probs / evidence if self.posterior == "mix" else probs / (probs * evidence).sum(-1, keepdim=True)
        law = forward * (b * weight + (1 - b) / size * weight.sum(-1, keepdim=True))
        return CategoricalKernel((law / law.sum(-1, keepdim=True)).log(), prediction)
