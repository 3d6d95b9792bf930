"""Transition laws of tokens: tables, jumps of a continuous-time chain, and the unmasking of masked tokens.

A tilt multiplies probabilities and normalizes again. `accelerate` multiplies rates: a token then jumps more or less
often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.kernel import Kernel, Number
from guidekit.core.prediction import geometric, normalized
from guidekit.core.random import Draw, pick
from guidekit.core.state import altered, column

FASTEST = 80.0
"""Rates are multiplied by at most its exponential."""


class TokenKernel(Kernel):
    """A law of next tokens (B, L), independent at every place but for which places change."""

    def table(self) -> CategoricalKernel:
        """The same law as a table over C ids, where places are independent."""
        raise NotImplementedError(f"{type(self).__name__} is no table of independent tokens")

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        return self.table().sample(draw)

    def log_prob(self, state: Tensor) -> Tensor:
        """See `Kernel.log_prob`."""
        return self.table().log_prob(state)

    def tilt(self, direction: Tensor | None) -> Kernel:
        """See `Kernel.tilt`; direction (B, L, C)."""
        return self if direction is None else self.table().tilt(direction)

    def accelerate(self, log_ratios: Tensor) -> Kernel:
        """The law whose jumps away from the present tokens are exp(log_ratios), (B, L, C), times as frequent."""
        return self.table().accelerate(log_ratios)

    def power(self, exponent: float) -> Kernel:
        """See `Kernel.power`."""
        return self.table().power(exponent)

    def belief(self, mask_id: int) -> Tensor:
        """log-laws of clean tokens (B, L, V) of masked places, should they be revealed; what is known is certain."""
        law = self.table().log_probs
        return torch.log_softmax(law[..., :mask_id].double().clamp_min(-1e9), -1)

    def revealing(self, tokens: Tensor, mask_id: int) -> TokenKernel:
        """The law of the same changes of places in which masked ones that are revealed turn into tokens (B, L)."""
        table = self.table()
        assert table.z is not None
        masked = (table.z == mask_id)[..., None]
        hidden = table.log_probs[..., mask_id:].double().exp()
        moved = F.one_hot(tokens, mask_id) * (1 - hidden).clamp_min(0)
        law = torch.cat([moved, hidden], -1).log()
        return CategoricalKernel(torch.where(masked, law, table.log_probs.double()), table.z)

    def product(self, other: Any, weight: float) -> tuple[TokenKernel, TokenKernel]:
        """The law proportional to self^(1 - weight) other^weight, and that product itself, which is no law.

        What is impossible in either is impossible; where that leaves a token nothing, the law is that of `other`.
        """
        return self.table().product(other.table(), weight)

    def powers(
        self, others: Sequence[Any], exponents: Sequence[float], noising: Tensor
    ) -> tuple[TokenKernel, TokenKernel]:
        """The law proportional to prod_i K_i^e_i q^(1 - sum e_i) of kernels K_i, and the product itself, no law.

        Args:
            others: kernels after this one.
            exponents: e_i, one a kernel, this one first.
            noising: log q(z_t | z_u) of the present tokens given every id of the next ones, (B, L, C).

        What is impossible in any is impossible; where that leaves a token nothing, the law is that of the last.
        """
        tables = [one.table().log_probs.double() for one in (self, *others)]
        logs = [*tables, noising]
        mixed = powered(logs, [*exponents, 1 - math.fsum(exponents)])
        z = self.table().z
        return CategoricalKernel(normalized(mixed, tables[-1]), z), CategoricalKernel(mixed, z)


@dataclass(frozen=True)
class CategoricalKernel(TokenKernel):
    """Independent next tokens.

    Args:
        log_probs: (B, L, C) over all C ids that a state may hold, normalized, nats.
        z: present tokens (B, L); needed by `accelerate` alone.
    """

    log_probs: Tensor
    z: Tensor | None = None

    def table(self) -> CategoricalKernel:
        """See `TokenKernel.table`: itself."""
        return self

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        return pick(self.log_probs, draw.uniform(*self.log_probs.shape[:2]))

    def log_prob(self, state: Tensor) -> Tensor:
        """See `Kernel.log_prob`."""
        return self.log_probs.double().gather(-1, state[..., None])[..., 0].sum(-1)

    def tilt(self, direction: Tensor | None) -> CategoricalKernel:
        """See `Kernel.tilt`; direction (B, L, C)."""
        if direction is None:
            return self
        return altered(self, log_probs=torch.log_softmax(self.log_probs.double() + direction, -1))

    def accelerate(self, log_ratios: Tensor) -> CategoricalKernel:
        """See `TokenKernel.accelerate`."""
        if self.z is None:
            raise ValueError("a table of tokens without its present ones has no jumps to accelerate")
        z = self.z[..., None]
        jumps = self.log_probs.double().exp().scatter(-1, z, 0.0)
        return altered(self, log_probs=_faster(jumps, jumps * log_ratios.clamp_max(FASTEST).exp(), z).log())

    def power(self, exponent: float) -> CategoricalKernel:
        """See `Kernel.power`."""
        return altered(self, log_probs=torch.log_softmax(exponent * self.log_probs, -1))

    def product(self, other: Any, weight: float) -> tuple[CategoricalKernel, CategoricalKernel]:
        """See `TokenKernel.product`."""
        return _product(self, other, weight)


@dataclass(frozen=True)
class JumpKernel(TokenKernel):
    """A step of a continuous-time chain: token l jumps to y with probability (rates + noise)[l, y] * length.

    Where the jumps of a token add up to more than one, they are scaled down to one.

    Args:
        rates: (B, L, C) of the reversed chain, zero at the present tokens.
        length: of the step, in units of time.
        z: present tokens (B, L).
        noise: (B, L, C) rates of noising that takes place beside them, which guidance leaves as they are.
        progress: share of the rates that leads on; the rest makes up for the noise.
    """

    rates: Tensor
    length: float
    z: Tensor
    noise: Tensor | float = 0.0
    progress: float = 1.0

    def table(self) -> CategoricalKernel:
        """See `TokenKernel.table`."""
        jumps = (self.rates + self.noise) * self.length
        jumps = jumps / jumps.sum(-1, keepdim=True).clamp_min(1.0)
        stay = (1 - jumps.sum(-1, keepdim=True)).clamp_min(0)
        return CategoricalKernel(jumps.scatter(-1, self.z[..., None], stay).log(), self.z)

    def accelerate(self, log_ratios: Tensor) -> CategoricalKernel:
        """See `TokenKernel.accelerate`: the reverse rates alone."""
        faster = self.rates * log_ratios.clamp_max(FASTEST).exp()
        jumps, faster = ((rates + self.noise) * self.length for rates in (self.rates, faster))
        return CategoricalKernel(_faster(jumps, faster, self.z[..., None]).log(), self.z)

    def product(self, other: Any, weight: float) -> tuple[TokenKernel, TokenKernel]:
        """See `TokenKernel.product`.

        Noise and the rates that make up for it together leave every law as it is, that of the product as well: they
        are no part of the product, which counts progress alone. The kernel mixes rates and keeps the noise.
        """
        if self.progress == 1 or not isinstance(other, JumpKernel):
            return self.table().product(other.table(), weight)
        ahead = [altered(each, rates=each.progress * each.rates, noise=0.0).table() for each in (self, other)]
        mass = torch.logsumexp(ahead[0].product(ahead[1], weight)[1].log_probs, -1, keepdim=True)
        rates = geometric(self.rates.log(), other.rates.log(), weight).exp()
        kernel = altered(self, rates=rates).table()
        return kernel, altered(kernel, log_probs=kernel.log_probs + mass)


@dataclass(frozen=True)
class UnmaskingKernel(TokenKernel):
    """Every masked token is revealed independently with probability `reveal`, and then follows a law of its own.

    The law of a table for an absorbing process, without its (B, L, V + 1) numbers: the laws of tokens are looked at
    only where one is revealed.

    Args:
        log_probs: of revealed tokens, (B, L, V), nats.
        z: present tokens (B, L).
        reveal: probability that a masked token is revealed, number or (B,).
        mask_id: id of the mask, V.
        remask: probability that a revealed token is masked again, number or (B, L).
    """

    log_probs: Tensor
    z: Tensor
    reveal: Number
    mask_id: int
    remask: Number = 0.0

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        u, masked = draw.uniform(*self.z.shape), self.z == self.mask_id
        shown = (u < column(self.reveal, u)) & masked
        new = reveal(self.log_probs, self.z, shown, draw.named("token"))
        if isinstance(self.remask, float) and self.remask == 0:
            return new
        return new.masked_fill((u < self.remask) & ~masked, self.mask_id)

    def belief(self, mask_id: int) -> Tensor:
        """See `TokenKernel.belief`."""
        return self.log_probs

    def revealing(self, tokens: Tensor, mask_id: int) -> UnmaskingKernel:
        """See `TokenKernel.revealing`."""
        return altered(self, log_probs=certain(tokens, mask_id))

    def table(self) -> CategoricalKernel:
        """See `TokenKernel.table`, over V + 1 ids."""
        probs = self.log_probs.double().exp()
        show = column(self.reveal, probs)
        lost = torch.as_tensor(self.remask, dtype=torch.float64, device=probs.device).expand(self.z.shape)[..., None]
        keep = F.one_hot(self.z, probs.shape[-1] + 1).to(probs) * (1 - lost)
        keep[..., -1:] += lost
        moved = torch.cat([probs * show, torch.ones_like(probs[..., :1]) * (1 - show)], -1)
        return CategoricalKernel(torch.where((self.z == self.mask_id)[..., None], moved, keep).log(), self.z)


@dataclass(frozen=True)
class ChosenUnmaskingKernel(TokenKernel):
    """A number of masked tokens of every row, chosen uniformly, are revealed and follow a law of their own.

    Rows with fewer masked tokens reveal all they have. Which places are revealed is no matter of a tilt.

    Args:
        log_probs: of revealed tokens, (B, L, V), nats.
        z: present tokens (B, L).
        count: tokens revealed in each row, (B,).
        mask_id: id of the mask.
    """

    log_probs: Tensor
    z: Tensor
    count: Tensor
    mask_id: int

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        masked = self.z == self.mask_id
        order = draw.uniform(*self.z.shape).masked_fill(~masked, 2.0)
        shown = (order.argsort(1).argsort(1) < self.count[:, None]) & masked
        return reveal(self.log_probs, self.z, shown, draw.named("token"))

    def belief(self, mask_id: int) -> Tensor:
        """See `TokenKernel.belief`."""
        return self.log_probs

    def revealing(self, tokens: Tensor, mask_id: int) -> ChosenUnmaskingKernel:
        """See `TokenKernel.revealing`."""
        return altered(self, log_probs=certain(tokens, mask_id))

    def log_prob(self, state: Tensor) -> Tensor:
        """See `Kernel.log_prob`; minus infinity where another number of tokens was revealed."""
        masked, changed = self.z == self.mask_id, self.z != state
        n = masked.sum(1).double()
        k = torch.minimum(n, self.count.double())
        choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        index = state.clamp_max(self.log_probs.shape[-1] - 1)[..., None]
        tokens = self.log_probs.double().gather(-1, index)[..., 0]
        total = torch.where(changed, tokens, 0.0).sum(1) - choose
        legal = (changed <= masked).all(1) & ~(changed & (state == self.mask_id)).any(1) & (changed.sum(1) == k)
        return torch.where(legal, total, -math.inf)

    def tilt(self, direction: Tensor | None) -> ChosenUnmaskingKernel:
        """See `Kernel.tilt`; direction (B, L, V + 1 or V), where the entry of the mask plays no part."""
        if direction is None:
            return self
        log_probs = self.log_probs.double() + direction[..., : self.log_probs.shape[-1]]
        return altered(self, log_probs=torch.log_softmax(log_probs, -1))

    def power(self, exponent: float) -> ChosenUnmaskingKernel:
        """See `Kernel.power`."""
        return replace(self, log_probs=torch.log_softmax(exponent * self.log_probs, -1))

    def product(self, other: Any, weight: float) -> tuple[TokenKernel, TokenKernel]:
        """See `TokenKernel.product`: of the laws of revealed tokens."""
        return _product(self, other, weight)

    def powers(
        self, others: Sequence[Any], exponents: Sequence[float], noising: Tensor
    ) -> tuple[TokenKernel, TokenKernel]:
        """See `TokenKernel.powers`: of the laws of revealed tokens, as all kernels choose places alike."""
        laws = [one.log_probs.double() for one in (self, *others)]
        mixed = powered(laws, exponents)
        return altered(self, log_probs=normalized(mixed, laws[-1])), altered(self, log_probs=mixed)


def powered(logs: Sequence[Tensor], exponents: Sequence[float]) -> Tensor:
    """sum_i e_i log_i of logarithms (B, ..., V); what is impossible in any stays impossible."""
    dead = torch.stack([one.isneginf() for one in logs]).any(0)
    total = torch.zeros_like(logs[0])
    for one, exponent in zip(logs, exponents, strict=True):
        total = total + exponent * one.masked_fill(dead, 0.0)
    return total.masked_fill(dead, -math.inf)


def _product(one: Any, other: Any, weight: float) -> tuple[Any, Any]:
    """See `TokenKernel.product`, of kernels with `log_probs`."""
    mixed = geometric(one.log_probs.double(), other.log_probs.double(), weight)
    law = normalized(mixed, other.log_probs.double())
    return altered(one, log_probs=law), altered(one, log_probs=mixed)


def certain(tokens: Tensor, size: int) -> Tensor:
    """The law (B, L, V) of tokens (B, L) that are certain, nats."""
    law = torch.full((*tokens.shape, size), -math.inf, device=tokens.device)
    return law.scatter_(-1, tokens[..., None], 0.0)


def reveal(log_probs: Tensor, z: Tensor, shown: Tensor, draw: Draw) -> Tensor:
    """Tokens z (B, L) with the places where shown (B, L) is True drawn from log_probs (B, L, V)."""
    u = draw.uniform(*z.shape)
    return z.masked_scatter(shown, pick(log_probs[shown], u[shown]))


def _faster(jumps: Tensor, faster: Tensor, z: Tensor) -> Tensor:
    """Probabilities (B, L, C) of a step whose jumps (B, L, C) occur at other rates in the same proportion as `faster`.

    A token stays with probability stay^(sum faster / sum jumps): jumps at a constant rate over the step. Nothing has to
    be cut off where rates are large, so no move that was possible becomes impossible.
    """
    total, wanted = jumps.sum(-1, keepdim=True), faster.sum(-1, keepdim=True)
    stay = (1 - total).clamp(0, 1) ** (wanted / total.clamp_min(1e-300))
    stay = torch.where(wanted > 0, stay, 1.0)
    return (faster * ((1 - stay) / wanted.clamp_min(1e-300))).scatter(-1, z, stay)
