"""First hitting for all absorbing processes: elements are inserted one at a time, and never against a constraint."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.prior import Prior
from guidekit.core.random import Draw, pick
from guidekit.core.state import altered
from guidekit.core.step import Moment
from guidekit.core.token_kernels import FASTEST, TokenKernel
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here, Sampler, at_least
from guidekit.samplers.constraints import Constraint, constraints_from

LAST = 1e-5
"""Share of what was lost at which rows end, where neither user nor prior says otherwise."""
ROUNDING = 1e-5
"""Of sums of single-precision probabilities, which are whole numbers where everything is masked."""
SURE = 0.5
"""What is left at the end is inserted where it is more probable than this."""

Waiting = tuple[Tensor, Tensor]
"""Time of every row (B,), and the rate (B,) at which it was proposed; 0 before the first proposal."""


@register("sampler", "insertion")
@dataclasses.dataclass(frozen=True, eq=False)
class Insertion(Sampler[Waiting]):
    """Jumps to the time of the next insertion: of a token behind a mask, of an edge where there is none.

    With S the sum of the probabilities of all insertions, the share of what was lost falls to U^(1/S) of itself until
    the next one; the element is drawn in proportion to its probability. The law of an absorbed token that is no mask
    depends on the time, so an insertion is proposed at the rate of the state it starts from and accepted by the ratio
    of the rates: for an exact prediction the law is exact wherever an insertion makes no other more probable.

    Every step costs one call; a row that is complete costs none. With fewer steps than elements, several are inserted
    at once. At the end masks are filled, and edges inserted that are more probable than not.

    Args:
        constraints: what must hold at all times, see `guidekit.samplers.constraints`: objects or names (acyclic,
            planar, connected, degree=3). Insertions that would break one are drawn again among the others.
        last: share of what was lost, below which a row is complete but for the end. None is that of the prior,
            or 1e-5: trees and molecules need the small one; where edges are noise (communities), stay where the
            prior was trained, at 1e-3.
        margin: proposals are so many times as frequent as the rate they are made at, at as many times the calls. Where
            insertions make others more probable (edges of communities), or guidance raises rates, several elements are
            inserted at once instead, which is a bias; a margin takes it away. None is that of the prior, or 1.

    Source: Zheng et al. 2024, arXiv:2409.02908 (first hitting of masks); constraints that hold at every step: Madeira
    et al. 2024, arXiv:2406.17341.
    """

    constraints: Sequence[Constraint | str] = ()
    last: float | None = None
    margin: float | None = None
    requires = frozenset({Fact.ABSORBING})
    provides = frozenset({Fact.NOISE, Fact.TILTS, Fact.JUMPS, Fact.ESTIMATE})

    def __post_init__(self) -> None:
        """Make constraints of names."""
        if self.last is not None and not 0 < self.last < 1:
            raise ValueError(f"last={self.last}; a share between 0 and 1 is needed")
        if self.margin is not None:
            at_least(self.margin, 1, "margin")
        object.__setattr__(self, "constraints", constraints_from(self.constraints))

    def suited(self, prior: Prior) -> Insertion:
        """See `Sampler.suited`: where to end, and the margin."""
        own = prior.default_sampler
        if not isinstance(own, Insertion):
            return self
        left = {name: getattr(own, name) for name in ("last", "margin") if getattr(self, name) is None}
        suited: Insertion = altered(self, **left)
        return suited

    def check(self, prior: Prior) -> None:
        """See `Sampler.check`."""
        for constraint in self.constraints:
            constraint.check(prior)  # type: ignore[union-attr]

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """Nominal times; the true ones are kept per row. Masks need a step each, and one before the first."""
        masks = Fact.MASKED in prior.provides and (self.margin or 1) == 1
        most = prior.event_shape[0] + 1 if masks else steps
        return prior.process.grid(min(steps, most))

    def time(self, moment: Moment, memory: Waiting | None) -> float | Tensor:
        """See `Sampler.time`."""
        return moment.t if memory is None else memory[0]

    def _given(self, z: Tensor) -> Tensor:
        """Tokens (B, L) with what constraints know from the start."""
        for constraint in self.constraints:
            given = constraint.given  # type: ignore[union-attr]
            z = z if given is None else torch.where(given.to(z.device) >= 0, given.to(z.device), z)
        return z

    def step(self, here: Here, memory: Waiting | None) -> tuple[InsertionKernel, Waiting]:
        """See `Sampler.step`."""
        process, prediction, left = here.process, here.prediction, here.left
        last, margin = self.last or LAST, self.margin or 1.0
        z, size = prediction.z, process.vocab_size
        if memory is None:
            times, proposed = torch.full((len(z),), here.step.t, dtype=torch.float64, device=z.device), None
        else:
            times, proposed = memory
        if memory is None:
            z = self._given(z)
        possible = process.resting(z)[..., None] & (torch.arange(size, device=z.device) != z[..., None])
        possible = possible & (times > 0)[:, None, None]
        weights = torch.where(possible, prediction.log_probs.double().exp(), 0.0)
        for constraint in self.constraints:
            weights = constraint.opened(weights, z, process)  # type: ignore[union-attr]
        each, due = weights.sum(-1), (z >= size).any(1)
        rate = each.sum(1)
        lost = 1 - process.alpha(times)
        going = times > 0
        ending = going & ~due & ((lost < last) | (rate <= 1e-12))
        going = going & ~ending
        number = torch.zeros_like(rate) if proposed is None else rate / proposed.clamp_min(1e-300)
        number = torch.where(going, number, 0.0)
        # A row must not have more to insert than there are steps, the last of which completes it.
        crowded = (rate / left - ROUNDING).ceil()
        least = torch.where(going & (crowded > 1) & (number > 0) | going & (left == 1), crowded, 0.0)
        smallest = each.masked_fill(each <= 0, torch.inf).amin(1)
        done = torch.maximum((number + ROUNDING).floor(), least)
        after = (rate - done * smallest.nan_to_num(posinf=0.0)).clamp_min(0)
        after = margin * after
        several = (after / max(margin * (left - 1), 1) - ROUNDING).ceil().clamp_min(1)
        log_ratio = torch.zeros_like(rate)
        for k in range(int(several.amax())):
            here_rate = (after - k * smallest.nan_to_num(posinf=0.0)).clamp_min(1e-9)
            log_u = here.draw.named(f"time {k}").uniform(len(z)).log() / here_rate
            log_ratio = log_ratio + torch.where(several > k, log_u, 0.0)
        then = (lost * log_ratio.exp()).clamp_min(1e-12)
        ending, going = ending | (left == 1), going & (left > 1)
        times = torch.where(going, process.alpha.inverse(1 - then), torch.zeros_like(times))
        kernel = InsertionKernel(weights, z, number, least, ending, prediction.log_probs, process, self.constraints)  # type: ignore[arg-type]
        return kernel, (times, torch.where(going, after, 0.0))


@dataclasses.dataclass(frozen=True)
class InsertionKernel(TokenKernel):
    """A random number of insertions of given mean, each in proportion to its weight; complete rows are filled up.

    Args:
        weights: of every insertion, (B, L, V) float64, not normalized.
        z: present tokens (B, L).
        number: mean number of insertions, (B,): its integer part, and one more with the probability of the rest.
        least: insertions at least, (B,).
        ending: (B,) bool, rows that are completed.
        log_probs: of clean tokens (B, L, V).
        process: of the tokens.
        constraints: that every insertion is asked for.
    """

    weights: Tensor
    z: Tensor
    number: Tensor
    least: Tensor
    ending: Tensor
    log_probs: Tensor
    process: object
    constraints: Sequence[Constraint] = ()

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        u = draw.named("number").uniform(len(self.z))
        number = torch.maximum((self.number + u).floor(), self.least).long()
        z, weights = self.z, self.weights
        held = Held(self.constraints, self.process)
        for k in range(int(number.amax())):
            rows = ((number > k) & (weights.sum((1, 2)) > 0)).nonzero()[:, 0]
            if not len(rows):
                break
            z, weights = self._insert(z, weights, rows, held, draw.named(f"element {k}"))
        z = self._completed(z, held, draw.named("rest")) if self.ending.any() else z
        held.end()
        return z

    def _insert(self, z: Tensor, weights: Tensor, rows: Tensor, held: Held, draw: Draw) -> tuple[Tensor, Tensor]:
        """One insertion in each of some rows (R,), drawn again where a constraint refuses it."""
        z, weights, size, attempt = z.clone(), weights.clone(), weights.shape[-1], 0
        while len(rows):
            u = draw.named(f"{attempt}").uniform(len(z))[rows]
            chosen = pick(weights[rows].flatten(1).log(), u)
            places, tokens = chosen // size, chosen % size
            fine = held.allow(z, rows, places, tokens)
            weights[rows, places] = torch.where(
                fine[:, None] | (torch.arange(size, device=z.device) == tokens[:, None]), 0.0, weights[rows, places]
            )
            z[rows[fine], places[fine]] = tokens[fine]
            again = rows[~fine]
            rows, attempt = again[weights[again].sum((1, 2)) > 0], attempt + 1
        return z, weights

    def _completed(self, z: Tensor, held: Held, draw: Draw) -> Tensor:
        """Tokens (B, L) where the rows that end have no masks, and edges that are more probable than not."""
        z, size, probs = z.clone(), self.weights.shape[-1], self.log_probs.double().exp()
        rows = self.ending.nonzero()[:, 0]
        masked = z >= size
        law = torch.where((self.weights > 0) | ~masked[..., None], self.log_probs, -torch.inf)
        law = torch.where(law.isneginf().all(-1, keepdim=True), self.log_probs, law)
        drawn = pick(law[rows], draw.uniform(*z.shape)[rows])
        most, best = probs[rows].max(-1)
        open_ = (self.weights[rows].gather(-1, best[..., None])[..., 0] > 0) & (z == self.z)[rows]
        wanted = masked[rows] | ((most > SURE) & open_ & (best != z[rows]))
        filled = torch.where(masked[rows], drawn, best)
        if not self.constraints:
            z[rows] = torch.where(wanted, filled, z[rows])
            return z
        for row, want, fill, sure in zip(rows.tolist(), wanted, filled, most, strict=True):
            places = want.nonzero()[:, 0]
            for place in places[sure[places].argsort(descending=True, stable=True)].tolist():
                token, one = fill[place].reshape(1), torch.tensor([row], device=z.device)
                if bool(held.allow(z, one, torch.tensor([place], device=z.device), token)[0]):
                    z[row, place] = token[0]
            for constraint in self.constraints:
                constraint.complete(z, row, probs[row], self.process, held)
        return z

    def log_prob(self, state: Tensor) -> Tensor:
        """See `Kernel.log_prob`; several insertions at once count as if drawn with replacement.

        Insertions that a constraint would refuse count as possible, and the end has no randomness but that of masks.
        """
        changed = (self.z != state) & ~self.ending[:, None]
        k, whole = changed.sum(1).double(), self.number.floor()
        part = self.number - whole
        chance = torch.where(k == whole, 1 - part, torch.where(k == whole + 1, part, 0.0))
        chance = torch.where(self.least > whole, (k == self.least).double(), chance)
        total = self.weights.sum((1, 2), keepdim=True).clamp_min(1e-300)
        index = state.clamp_max(self.weights.shape[-1] - 1)[..., None]
        each = (self.weights / total).log().gather(-1, index)[..., 0]
        ways = torch.lgamma(k + 1)
        found = torch.where(changed, each, 0.0).sum(1) + ways + chance.log()
        return torch.where(self.ending, 0.0, found)

    def tilt(self, direction: Tensor | None) -> InsertionKernel:
        """See `Kernel.tilt`; direction (B, L, C or V): which element is inserted, not when."""
        if direction is None:
            return self
        gain = self._gain(direction)
        return self._reweighted(self.weights * (gain - gain.amax((1, 2), keepdim=True)).exp())

    def accelerate(self, log_ratios: Tensor) -> InsertionKernel:
        """See `TokenKernel.accelerate`."""
        weights = self.weights * self._gain(log_ratios).clamp_max(FASTEST).exp()
        ratio = weights.sum((1, 2)) / self.weights.sum((1, 2)).clamp_min(1e-300)
        most = (weights > 0).any(-1).sum(1)
        return altered(self, weights=weights, number=(self.number * ratio).minimum(most))

    def power(self, exponent: float) -> InsertionKernel:
        """See `Kernel.power`."""
        return self._reweighted(self.weights**exponent)

    def _gain(self, direction: Tensor) -> Tensor:
        """What an insertion (B, L, V) changes in the product with a direction (B, L, C or V)."""
        size = self.weights.shape[-1]
        index = self.z.clamp_max(direction.shape[-1] - 1)[..., None]
        here = direction.double().gather(-1, index)
        here = torch.where((self.z < direction.shape[-1])[..., None], here, 0.0)
        return direction[..., :size].double() - here

    def _reweighted(self, weights: Tensor) -> InsertionKernel:
        """Other weights of the same sum."""
        scale = self.weights.sum((1, 2), keepdim=True) / weights.sum((1, 2), keepdim=True).clamp_min(1e-300)
        return altered(self, weights=weights * scale)


class Held:
    """What constraints remember of rows while elements are inserted in one step.

    Args:
        constraints: that are asked.
        process: of the tokens.
    """

    def __init__(self, constraints: Sequence[Constraint], process: object) -> None:
        self.constraints, self.process = constraints, process
        self._rows: dict[tuple[int, int], object] = {}

    def allow(self, z: Tensor, rows: Tensor, places: Tensor, tokens: Tensor) -> Tensor:
        """Whether tokens (R,) may be inserted at places (R,) of rows (R,) of z (B, L); those are remembered."""
        if not self.constraints:
            return torch.ones_like(rows, dtype=torch.bool)
        asked = zip(rows.tolist(), places.tolist(), tokens.tolist(), strict=True)
        return torch.tensor([self._allow(z, *each) for each in asked], device=z.device, dtype=torch.bool)

    def _allow(self, z: Tensor, row: int, place: int, token: int) -> bool:
        held = [self._of(z, row, k) for k in range(len(self.constraints))]
        fine = all(c.allows(of, place, token) for c, of in zip(self.constraints, held, strict=True))
        if fine:
            for constraint, of in zip(self.constraints, held, strict=True):
                constraint.insert(of, place, token)
        return fine

    def end(self) -> None:
        """The step is over."""
        for (_, k), of in self._rows.items():
            self.constraints[k].end(of)

    def _of(self, z: Tensor, row: int, k: int) -> object:
        if (row, k) not in self._rows:
            self._rows[row, k] = self.constraints[k].begin(z[row], self.process)
        return self._rows[row, k]


__all__ = ["Insertion", "InsertionKernel"]
