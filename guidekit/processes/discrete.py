"""Discrete noising: what every process of tokens offers, and the absorbing (masked) process."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.process import Process
from guidekit.core.random import Draw
from guidekit.core.requirements import Fact
from guidekit.core.state import column
from guidekit.core.support import EVERYWHERE, Support
from guidekit.core.token_kernels import CategoricalKernel, TokenKernel, UnmaskingKernel
from guidekit.processes.alpha import CosineAlpha, Geometric, LogLinear, check_alpha
from guidekit.processes.numbers import Number


@dataclasses.dataclass(frozen=True)
class DiscreteProcess(Process):
    """Base of all processes of tokens: positions are noised independently by a Markov chain.

    Rows of matrices and first arguments are where a jump starts: `transition(t, u)[i, j]` is q(z_t = j | z_u = i). The
    last axis of rate tables (B, L, C) runs over the C ids that position l may hold; entries at its present id are 0.

    Args:
        vocab_size: V, number of clean tokens; a prior fills it in where it is 0.
        alpha: t -> a(t), 1 at t = 0, falling.
        pinned: id that is never noised and that no other id turns into (padding), or None.

    Raises:
        ValueError: a schedule that leaves [0, 1], rises, or does not start at 1.
    """

    vocab_size: int = 0
    alpha: LogLinear | CosineAlpha | Geometric = LogLinear()
    pinned: int | None = None
    provides = frozenset({Fact.TOKENS, Fact.SEQUENCE, Fact.RATES})

    def __post_init__(self) -> None:
        """Check the schedule."""
        check_alpha(self.alpha)

    def noising(self, state: Tensor, t: float, u: float, support: Support = EVERYWHERE) -> CategoricalKernel:
        """See `Process.noising`; places outside the support stay what they are."""
        table = self.transition(u, t).to(state.device)[state]
        inside = support.keep(torch.ones_like(state)).bool()[..., None]
        return CategoricalKernel(torch.where(inside, table, F.one_hot(state, table.shape[-1])).log(), state)

    @property
    def states(self) -> int:
        """C, number of ids a noisy token may have."""
        return self.vocab_size

    def grid(self, steps: int) -> list[float]:
        """`steps` + 1 times from 1 to 0, evenly spaced."""
        return [1 - i / steps for i in range(steps)] + [0.0]

    def hazard(self, t: Number) -> Number:
        """Rate -a'(t) / a(t) at which a token is lost; with a taken as at least 1e-9, where nothing is left to lose."""
        a = self.alpha(t)
        return self.alpha.slope(t) / (a.clamp_min(1e-9) if isinstance(a, Tensor) else max(a, 1e-9))

    def prediction(self, log_probs: Tensor, z: Tensor) -> CategoricalPrediction:
        """The prediction with clean-token log-probabilities (B, L, V) at state z."""
        return CategoricalPrediction(log_probs, z)

    def _lost(self, chance: Tensor | float, device: torch.device | str = "cpu") -> Tensor:
        """Probability that each clean token is lost (..., V), from a chance (..., 1): zero for the pinned one."""
        ids = torch.arange(self.vocab_size, device=device)
        return chance * (ids != (-1 if self.pinned is None else self.pinned)).double()

    def noise(self, x0: Tensor, t: Number, u: Tensor) -> Tensor:
        """Noisy tokens for clean x0 (B, L), t number or (B,), u (B, L) uniform."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement noise(x0, t, u)")

    def transition(self, t: float, u: float) -> Tensor:
        """Matrix q(z_t | z_u), (C, C) float64, rows sum to one."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement transition(t, u)")

    def likelihood(self, z: Tensor, t: Number) -> Tensor:
        """q(z_t^l | x_0^l = x) for every clean token x, (B, L, V) float64."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement likelihood(z, t)")

    def rates_into(self, z: Tensor, t: Number) -> Tensor:
        """Forward rates Q_t(y -> z^l) into the present tokens from every id y, (B, L, C) float64."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement rates_into(z, t)")

    def rates_from(self, z: Tensor, t: Number) -> Tensor:
        """Forward rates Q_t(z^l -> y) from the present tokens to every other id y, (B, L, C) float64."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement rates_from(z, t)")

    def spread(self, weights: Tensor, t: Number) -> Tensor:
        """sum_x weights(x) q(z_t = y | x) for every id y; weights (B, L, V), result (B, L, C)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement spread(weights, t)")

    def unspread(self, ratios: Tensor, t: Number) -> Tensor:
        """Inverse of `spread`: weights (B, L, V) from (B, L, C)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement unspread(ratios, t)")

    def ratios(self, prediction: CategoricalPrediction, t: Number) -> Tensor:
        """Concrete score p_t(z with token l set to y) / p_t(z) = sum_x p(x | z) q(y | x) / q(z^l | x), (B, L, C).

        At a revealed token of a masked process, which no reverse jump leaves, the entries of other ids mean nothing.

        Source: Lou et al. 2023, arXiv:2310.16834, eq. 7, for a model that predicts clean tokens.
        """
        return self.spread(self.weights(prediction, t), t)

    def editable(self, z: Tensor) -> Tensor:
        """Edits that a reverse step can make, (B, L, C) bool: not of pinned tokens, nor of what is already revealed."""
        other = z[..., None] != torch.arange(self.states, device=z.device)
        return other if self.pinned is None else other & (z != self.pinned)[..., None]

    def weights(self, prediction: CategoricalPrediction, t: Number) -> Tensor:
        """p(x | z) / q(z^l | x), (B, L, V), 0 where x cannot become z; written so that gradients stay finite there."""
        evidence = self.likelihood(prediction.z, t)
        return prediction.probs.double() / evidence.masked_fill(evidence <= 0, torch.inf)

    def score(self, outputs: Tensor, z: Tensor, t: Number) -> Tensor:
        """Concrete score (B, L, C) from a network's outputs (B, L, V): their exponential, 1 at the present token."""
        return outputs.double().exp().scatter(-1, z[..., None], 1.0)

    def from_ratios(self, ratios: Tensor, z: Tensor, t: Number) -> CategoricalPrediction:
        """The prediction about clean tokens that has the given concrete score (B, L, C); what is below zero is cut off.

        The entry at the present token must be 1.
        """
        if self.pinned is not None:
            padding = torch.arange(ratios.shape[-1], device=z.device) == self.pinned
            ratios = torch.where(padding, (z == self.pinned)[..., None].to(ratios), ratios)
        probs = (self.unspread(ratios.double(), t) * self.likelihood(z, t)).clamp_min(0)
        return self.prediction((probs / probs.sum(-1, keepdim=True)).log(), z)

    def reverse_rates(self, prediction: CategoricalPrediction, t: Number) -> Tensor:
        """Rates R_t(z -> z with token l set to y) = Q_t(y -> z^l) ratio(y) of the time-reversed chain, (B, L, C)."""
        rates = self.rates_into(prediction.z, t) * self.ratios(prediction, t)
        return rates.scatter(-1, prediction.z[..., None], 0.0)

    def reverse_kernel(self, prediction: CategoricalPrediction, t: Number, u: Number) -> TokenKernel:
        """Law of z_u given z_t."""
        return CategoricalKernel(self.reverse_table(prediction, t, u).log(), prediction.z)

    def reverse_table(self, prediction: CategoricalPrediction, t: Number, u: Number) -> Tensor:
        """Probabilities of z_u given z_t, (B, L, C)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement reverse_table(prediction, t, u)")


@dataclasses.dataclass(frozen=True)
class Masked(DiscreteProcess):
    """Absorbing process: a lost token becomes the mask, whose id is V.

    Source: Austin et al. 2021, arXiv:2107.03006; Sahoo et al. 2024, arXiv:2406.07524.
    """

    provides = frozenset({Fact.TOKENS, Fact.SEQUENCE, Fact.RATES, Fact.MASKED, Fact.ABSORBING})

    @property
    def mask_id(self) -> int:
        """Id of the mask token."""
        return self.vocab_size

    @property
    def states(self) -> int:
        """Number of ids a noisy token may have, V + 1."""
        return self.vocab_size + 1

    def editable(self, z: Tensor) -> Tensor:
        """See `DiscreteProcess.editable`."""
        masked = (z == self.mask_id)[..., None]
        return masked & (z[..., None] != torch.arange(self.states, device=z.device))

    def resting(self, z: Tensor) -> Tensor:
        """Where tokens (B, L) are what all end as, (B, L) bool."""
        return z == self.mask_id

    def likelihood(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.likelihood`."""
        lost = self._lost(1 - _column(self.alpha(t), z), z.device)
        same = z[..., None] == torch.arange(self.vocab_size, device=z.device)
        return torch.where((z == self.mask_id)[..., None], lost, (1 - lost) * same)

    def spread(self, weights: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.spread`."""
        lost = self._lost(1 - _column(self.alpha(t), weights[..., 0]), weights.device)
        return torch.cat([(1 - lost) * weights, (lost * weights).sum(-1, keepdim=True)], -1)

    def unspread(self, ratios: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.unspread`."""
        return ratios[..., :-1] / (1 - self._lost(1 - _kept(self.alpha(t), ratios[..., 0]), ratios.device))

    def score(self, outputs: Tensor, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.score`; times a / (1 - a), the scale of all ratios of a masked token.

        Source: Lou et al. 2023, arXiv:2310.16834, appendix C.2.
        """
        a = _kept(self.alpha(t), z)
        scaled = outputs.double().exp() * (a / (1 - a).clamp_min(1e-9))
        return F.pad(scaled, (0, 1)).scatter(-1, z[..., None], 1.0)

    def rates_into(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.rates_into`."""
        return F.pad(self._lost(_column(self.hazard(t), z), z.device) * (z == self.mask_id)[..., None], (0, 1))

    def rates_from(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.rates_from`."""
        kept = z == self.mask_id
        if self.pinned is not None:
            kept = kept | (z == self.pinned)
        to_mask = torch.arange(self.states, device=z.device) == self.mask_id
        return (~kept[..., None] & to_mask) * _column(self.hazard(t), z)

    def reverse_rates(self, prediction: CategoricalPrediction, t: Number) -> Tensor:
        """See `DiscreteProcess.reverse_rates`; the rate is -a' / (1 - a), finite for every t > 0."""
        z, probs = prediction.z, prediction.probs.double()
        rate = _column(self.alpha.slope(t) / (1 - self.alpha(t)), z)
        shown = torch.where((z == self.mask_id)[..., None], rate * probs, 0.0)
        return F.pad(shown, (0, 1))

    def sample_limit(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """Fully masked sequences of shape (B, L)."""
        return torch.full(shape, self.mask_id, device=draw.random.device)

    def noise(self, x0: Tensor, t: Number, u: Tensor) -> Tensor:
        """Noisy tokens for clean x0 (B, L), t number or (B,), u (B, L) uniform."""
        lost = u >= column(self.alpha(t), u)
        if self.pinned is not None:
            lost &= x0 != self.pinned
        return x0.masked_fill(lost, self.mask_id)

    def transition(self, t: float, u: float) -> Tensor:
        """Matrix q(z_t | z_u) over V + 1 ids, (V + 1, V + 1) float64, rows sum to one."""
        lost = F.pad(self._lost(1 - self.alpha(t) / self.alpha(u)), (0, 1))
        matrix = torch.diag(1 - lost)
        matrix[:, self.mask_id] += lost
        return matrix

    def prediction(self, log_probs: Tensor, z: Tensor) -> CategoricalPrediction:
        """The prediction at state z, with revealed tokens carried over as certain."""
        known = z != self.mask_id
        certain = F.one_hot(z.masked_fill(~known, 0), log_probs.shape[-1]).to(log_probs).log()
        return CategoricalPrediction(torch.where(known[..., None], certain, log_probs), z)

    def reverse_kernel(self, prediction: CategoricalPrediction, t: Number, u: Number) -> UnmaskingKernel:
        """Law of z_u given z_t: a masked token is revealed with probability (a_u - a_t) / (1 - a_t)."""
        a, b = self.alpha(t), self.alpha(u)
        return UnmaskingKernel(prediction.log_probs, prediction.z, (b - a) / (1 - a), self.mask_id)

    def reverse_table(self, prediction: CategoricalPrediction, t: Number, u: Number) -> Tensor:
        """See `DiscreteProcess.reverse_table`."""
        a, b = _column(self.alpha(t), prediction.z), _column(self.alpha(u), prediction.z)
        revealed = prediction.probs * ((b - a) / (1 - a))
        moved = torch.cat([revealed, ((1 - b) / (1 - a)).expand_as(revealed[..., :1])], -1)
        return torch.where((prediction.z == self.mask_id)[..., None], moved, F.one_hot(prediction.z, self.states))


def _column(value: Number, z: Tensor) -> Tensor:
    """A number or one a row as float64 that broadcasts against (B, L, anything)."""
    return torch.as_tensor(value, dtype=torch.float64, device=z.device).reshape(-1, 1, 1)


def _kept(value: Number, z: Tensor) -> Tensor:
    """`_column` of a alpha to divide by: at least 1e-6, below which a state says nothing about its origin."""
    return _column(value, z).clamp_min(1e-6)
