"""Processes that replace a lost token by a draw from a limit law: uniform, the data's marginals, or any other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.random import Draw, pick
from guidekit.processes.discrete import DiscreteProcess, _column, _kept
from guidekit.processes.numbers import Number


@dataclasses.dataclass(frozen=True)
class Uniform(DiscreteProcess):
    """A lost token is replaced by one drawn uniformly from the clean tokens (without the pinned one).

    Args:
        posterior: "mix" averages q(z_u | z_t, x_0) over the predicted x_0, which is the exact kernel for exact
            predictions; "plug_in" puts the predicted probabilities into the posterior's formula.

    Source: Austin et al. 2021, arXiv:2107.03006; "plug_in" Schiff et al. 2024, arXiv:2412.10193.
    """

    posterior: str = "mix"

    def __post_init__(self) -> None:
        """Refuse an unknown posterior and an impossible schedule."""
        super().__post_init__()
        if self.posterior not in ("mix", "plug_in"):
            raise ValueError(f"no posterior {self.posterior!r}; there are 'mix' and 'plug_in'")

    @cached_property
    def limit(self) -> Tensor:
        """Limit law (V,) float64."""
        law = torch.ones(self.vocab_size, dtype=torch.float64)
        if self.pinned is not None:
            law[self.pinned] = 0.0
        return law / law.sum()

    def sample_limit(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """Tokens of shape (B, L) from the limit law."""
        return self._draw(draw.uniform(*shape))

    def _draw(self, u: Tensor) -> Tensor:
        law = self.limit.to(u.device)
        return pick(law.log().expand(*u.shape, -1), u)

    def noise(self, x0: Tensor, t: Number, u: Tensor) -> Tensor:
        """Noisy tokens for clean x0 (B, L), t number or (B,), u (B, L) uniform."""
        a = _column(self.alpha(t), u)[..., 0]
        lost = u >= a
        if self.pinned is not None:
            lost &= x0 != self.pinned
        # A lost token's u is uniform on [a, 1): stretched, it chooses the replacement.
        stretched = ((u - a) / (1 - a).clamp_min(1e-12)).clamp(0, 1 - 1e-12)
        return torch.where(lost, self._draw(stretched), x0)

    def transition(self, t: float, u: float) -> Tensor:
        """Matrix q(z_t | z_u) over V ids, (V, V) float64, rows sum to one."""
        lost = self._lost(1 - self.alpha(t) / self.alpha(u))
        return torch.diag(1 - lost) + lost[:, None] * self.limit

    def likelihood(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.likelihood`."""
        return self._into(z, _column(self.alpha(t), z))

    def _into(self, z: Tensor, keep: Tensor) -> Tensor:
        """Probability that a token that stays with probability `keep` becomes z, from every id, (B, L, V)."""
        lost = self._lost(1 - keep, z.device)
        return (1 - lost) * F.one_hot(z, self.vocab_size) + lost * self.limit.to(z.device)[z][..., None]

    def spread(self, weights: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.spread`."""
        lost = self._lost(1 - _column(self.alpha(t), weights[..., 0]), weights.device)
        return (1 - lost) * weights + self.limit.to(weights) * (lost * weights).sum(-1, keepdim=True)

    def unspread(self, ratios: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.unspread`."""
        lost = self._lost(1 - _kept(self.alpha(t), ratios[..., 0]), ratios.device)
        return (ratios - self.limit.to(ratios) * (lost * ratios).sum(-1, keepdim=True)) / (1 - lost)

    def rates_into(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.rates_into`."""
        return self._lost(_column(self.hazard(t), z), z.device) * self.limit.to(z.device)[z][..., None]

    def rates_from(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.rates_from`."""
        rates = (_column(self.hazard(t), z) * self.limit.to(z.device)).expand(*z.shape, self.vocab_size)
        rates = rates.scatter(-1, z[..., None], 0.0)
        return rates if self.pinned is None else rates.masked_fill((z == self.pinned)[..., None], 0.0)

    def ratios(self, prediction: CategoricalPrediction, t: Number) -> Tensor:
        """See `DiscreteProcess.ratios`; with posterior "plug_in" spread(p)(y) / spread(p)(z^l)."""
        if self.posterior == "mix":
            return super().ratios(prediction, t)
        noised = self.spread(prediction.probs.double(), t)
        return noised / noised.gather(-1, prediction.z[..., None])

    def reverse_table(self, prediction: CategoricalPrediction, t: Number, u: Number) -> Tensor:
        """See `DiscreteProcess.reverse_table`.

        With d(x) = a_t [x = z_t] + (1 - a_t) limit(z_t) the posterior for a clean token x is proportional to
        (a_{t|u} [z_u = z_t] + (1 - a_{t|u}) limit(z_t)) (a_u [z_u = x] + (1 - a_u) limit(z_u)) / d(x).
        """
        z = prediction.z
        keep = _column(self.alpha(t), z) / _column(self.alpha(u), z)
        weight = self.weights(prediction, t) if self.posterior == "mix" else prediction.probs.double()
        law = self._into(z, keep) * self.spread(weight, u)
        return law / law.sum(-1, keepdim=True)


@dataclasses.dataclass(frozen=True)
class Marginal(Uniform):
    """A lost token is replaced by a draw from a given law, such as the frequencies of the tokens in the data.

    Args:
        law: (V,) non-negative, normalized here; needs no vocab_size beside it.

    Raises:
        ValueError: negative or not finite entries, or a law that sums to zero.

    Source: Vignac et al. 2022, arXiv:2209.14734, section 4.1 (marginal transitions).
    """

    law: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Check the law and keep it as numbers, so that equal processes compare equal."""
        values = torch.as_tensor(self.law, dtype=torch.float64)
        if values.ndim != 1 or not len(values) or not values.isfinite().all() or (values < 0).any() or not values.sum():
            raise ValueError(f"law of shape {tuple(values.shape)} must be non-negative numbers (V,), not all zero")
        if self.vocab_size not in (0, len(values)):
            raise ValueError(f"law has {len(values)} entries for vocab_size={self.vocab_size}")
        object.__setattr__(self, "law", tuple((values / values.sum()).tolist()))
        object.__setattr__(self, "vocab_size", len(values))
        super().__post_init__()

    @cached_property
    def limit(self) -> Tensor:
        """Limit law (V,) float64; the pinned id has no part in it."""
        law = torch.tensor(self.law, dtype=torch.float64)
        if self.pinned is not None:
            law[self.pinned] = 0.0
        return law / law.sum()
