"""Tokens of several kinds in one sequence, such as nodes and edges of a graph: each kind has a limit law of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.random import Draw, pick
from guidekit.core.requirements import Fact
from guidekit.processes.discrete import DiscreteProcess, _column, _kept
from guidekit.processes.numbers import Number


@dataclasses.dataclass(frozen=True)
class Kinds(DiscreteProcess):
    """A lost token is drawn from the limit law of its kind, and so remains of its kind.

    A kind whose law is a single id is absorbed: lost edges become "no edge", lost nodes the mask (id V). Such a token
    stays what it is once it has been something else, and that shows what it was.

    Args:
        kinds: (V,) number of the kind of each clean id; what is said of the pinned id does not matter.
        laws: (number of kinds, V or V + 1) limit laws, normalized here; V + 1 where the id V of a mask is among them.

    Raises:
        ValueError: laws that are none, or an id that two kinds turn into, or the pinned one.

    Source: Vignac et al. 2022, arXiv:2209.14734, section 4.1 (marginal laws of nodes and of edges); absorbing edges:
    Madeira et al. 2024, arXiv:2406.17341, section 4.
    """

    kinds: Sequence[int] = ()
    laws: Sequence[Sequence[float]] = ()

    def __post_init__(self) -> None:
        """Check the laws and keep them as numbers, so that equal processes compare equal."""
        laws = torch.as_tensor(self.laws, dtype=torch.float64)
        size = len(self.kinds)
        if laws.ndim != 2 or laws.shape[1] not in (size, size + 1) or not size:
            raise ValueError(
                f"laws of shape {tuple(laws.shape)} for {size} ids; one row a kind, as many ids or one more"
            )
        if not laws.isfinite().all() or (laws < 0).any() or (laws.sum(1) <= 0).any():
            raise ValueError("limit laws must be non-negative numbers, with a sum above zero in every kind")
        if not set(self.kinds) - {self.kinds[self.pinned] if self.pinned is not None else -1} <= set(range(len(laws))):
            raise ValueError(f"kinds {sorted(set(self.kinds))} for {len(laws)} limit laws; 0 to {len(laws) - 1}")
        if (laws > 0).sum(0).amax() > 1:
            raise ValueError(f"id {int((laws > 0).sum(0).argmax())} is in the limit laws of two kinds")
        if self.pinned is not None and laws[:, self.pinned].any():
            raise ValueError(f"id {self.pinned} is pinned, and in a limit law: nothing turns into it")
        object.__setattr__(self, "kinds", tuple(map(int, self.kinds)))
        object.__setattr__(self, "laws", tuple(map(tuple, (laws / laws.sum(1, keepdim=True)).tolist())))
        object.__setattr__(self, "vocab_size", size)
        super().__post_init__()

    @property
    def states(self) -> int:
        """Number of ids a noisy token may have."""
        return len(self.laws[0])

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """`Fact.ABSORBING` where every kind is."""
        facts = frozenset({Fact.TOKENS, Fact.SEQUENCE, Fact.RATES})
        return facts | {Fact.ABSORBING} if all(max(law) == 1 for law in self.laws) else facts

    @cached_property
    def limits(self) -> Tensor:
        """Limit law of every clean id, (V, C) float64; the pinned one stays itself."""
        table = torch.tensor(self.laws, dtype=torch.float64)[torch.tensor(self.kinds).clamp(0, len(self.laws) - 1)]
        if self.pinned is not None:
            table[self.pinned] = F.one_hot(torch.tensor(self.pinned), table.shape[1])
        return table

    @property
    def limit(self) -> Tensor:
        """Limit law of the last kind, (C,) float64: that of all tokens where there is one kind."""
        return torch.tensor(self.laws[-1], dtype=torch.float64)

    @cached_property
    def every(self) -> Tensor:
        """Limit law of every id, (C, C): that of `limits`, and for a mask that of its kind."""
        if self.states == self.vocab_size:
            return self.limits
        laws = torch.tensor(self.laws, dtype=torch.float64)
        return torch.cat([self.limits, laws[laws[:, -1].argmax()][None]])

    @cached_property
    def possible(self) -> Tensor:
        """Which clean ids an id may come from, (C, V) bool."""
        return (torch.eye(self.vocab_size, self.states) + self.limits).T > 0

    def resting(self, z: Tensor) -> Tensor:
        """Where tokens (B, L) are what all of their kind end as, (B, L) bool; of a process that is absorbing."""
        ends = (self.every.diagonal() == 1).to(z.device)
        return ends[z] if self.pinned is None else ends[z] & (z != self.pinned)

    def editable(self, z: Tensor) -> Tensor:
        """See `DiscreteProcess.editable`: an id is the same kind's, and reverse jumps lead to it."""
        reverse = (self.every.T > 0).to(z.device)[z]
        return reverse & (z[..., None] != torch.arange(self.states, device=z.device))

    def sample_limit(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """See `Process.sample_limit`; of the last kind everywhere: a prior that knows the places has a better one."""
        u = draw.uniform(*shape)
        return pick(self.limit.to(u.device).log().expand(*shape, -1), u)

    def lost(self, clean: Tensor, u: Tensor) -> Tensor:
        """Tokens (B, L) drawn from the limit law of clean ones (B, L), with u (B, L) uniform."""
        return pick(self.limits.to(u.device)[clean].log(), u)

    def noise(self, x0: Tensor, t: Number, u: Tensor) -> Tensor:
        """See `DiscreteProcess.noise`."""
        a = _column(self.alpha(t), u)[..., 0]
        stretched = ((u - a) / (1 - a).clamp_min(1e-12)).clamp(0, 1 - 1e-12)  # uniform on [0, 1) where it is lost
        return torch.where(u >= a, self.lost(x0, stretched), x0)

    def transition(self, t: float, u: float) -> Tensor:
        """See `DiscreteProcess.transition`."""
        keep = self.alpha(t) / self.alpha(u)
        return keep * torch.eye(self.states, dtype=torch.float64) + (1 - keep) * self.every

    def likelihood(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.likelihood`."""
        a, same = _column(self.alpha(t), z), z[..., None] == torch.arange(self.vocab_size, device=z.device)
        return a * same + (1 - a) * self.limits.T.to(z.device)[z]

    def spread(self, weights: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.spread`."""
        a = _column(self.alpha(t), weights[..., 0])
        kept = F.pad(weights, (0, self.states - self.vocab_size))
        return a * kept + (1 - a) * (weights.double() @ self.limits.to(weights.device))

    def unspread(self, ratios: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.unspread`: the sum over a kind is the same before and behind."""
        a = _kept(self.alpha(t), ratios[..., 0])
        limits = self.limits.to(ratios)
        own = (limits @ limits.T > 0).to(ratios)  # of one kind
        sums = ratios[..., : self.vocab_size] @ own
        if self.states > self.vocab_size:
            sums = sums + ratios[..., -1:] * (limits[:, -1] > 0)
        weights = ratios[..., : self.vocab_size] - (1 - a) * sums * limits.diagonal()
        return weights / a

    def rates_into(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.rates_into`."""
        return _column(self.hazard(t), z) * self.every.T.to(z.device)[z].scatter(-1, z[..., None], 0.0)

    def rates_from(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.rates_from`."""
        return _column(self.hazard(t), z) * self.every.to(z.device)[z].scatter(-1, z[..., None], 0.0)

    def prediction(self, log_probs: Tensor, z: Tensor) -> CategoricalPrediction:
        """The prediction at state z without the ids that z does not come from; what is left is normalized."""
        shut = ~self.possible.to(z.device)[z]
        certain = (~shut).sum(-1, keepdim=True) == 1
        law = torch.where(certain, 0.0, log_probs).masked_fill(shut, -torch.inf)
        return CategoricalPrediction(torch.log_softmax(law, -1), z)

    def reverse_table(self, prediction: CategoricalPrediction, t: Number, u: Number) -> Tensor:
        """See `DiscreteProcess.reverse_table`: sum_x p(x | z_t) q(z_t | z_u) q(z_u | x) / q(z_t | x)."""
        z = prediction.z
        keep = _column(self.alpha(t), z) / _column(self.alpha(u), z)
        same = z[..., None] == torch.arange(self.states, device=z.device)
        law = (keep * same + (1 - keep) * self.every.T.to(z.device)[z]) * self.spread(self.weights(prediction, t), u)
        return law / law.sum(-1, keepdim=True)


__all__ = ["Kinds"]
