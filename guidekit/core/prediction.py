"""What we believe about the clean state, given a noisy one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from guidekit.core.owner import Owner
from guidekit.core.random import Draw, pick
from guidekit.core.state import Composite, State, altered, column, map_leaves
from guidekit.core.support import EVERYWHERE, Support

Memory = TypeVar("Memory")
Number = float | Tensor

LEAST = 1e-6
"""Coefficients below it are taken as it, so that a view can be turned back where a state is all noise or none."""

Space = str | Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A name of `SPACES`, or (a, s) -> (alpha, beta) of the view alpha x_0 + beta x of a clean estimate x_0 at x."""


def _noise(a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return -a / s, 1 / s


def _velocity(a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    size = (a * a + s * s).sqrt()
    return -size / s, a / (size * s)


def _score(a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return a / s**2, -1 / s**2


SPACES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "noise": _noise,
    "velocity": _velocity,
    "score": _score,
}
"""Beside "clean": the noise, v = a noise - s x_0 for a and s scaled to a^2 + s^2 = 1, and the score -noise / s."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What we believe about the clean state x_0 of every row.

    Args:
        branches: what it was combined from, or None where it is no combination.
        notes: what guidances have found out on the way, by guidance; read with `note`.
    """

    branches: Branches | None = None
    notes: dict[Owner, Any] = field(default_factory=dict)

    @property
    def clean(self) -> State:
        """The point estimate of x_0, (B, *S)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement clean")

    @property
    def state(self) -> State:
        """The noisy state that it is about, (B, *S)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement state")

    def map(self, function: Callable[..., Tensor], *others: Any, space: Space = "clean") -> Prediction:
        """The prediction whose representation is a function of those of this one and of others, part by part.

        The function is given the support of the part first, whose `mean`, `std`, `norm` and `dot` see no padding. Real
        parts are represented by a tensor (B, *S) in a space ("clean", "noise", "velocity", "score" or a function);
        categorical ones by centered log-probabilities (B, L, V) whatever the space, which are normalized afterwards.
        What the branches were combined with is forgotten, as the combination may be no longer linear.
        """
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement map(function, *others, space=)")

    def laws(self, function: Callable[[Tensor], Tensor]) -> Prediction:
        """The prediction with a function of the log-probabilities (B, L, V) of tokens; what has none stays as it is."""
        return self

    def reals(self, function: Callable[[Support, Tensor], Tensor]) -> Prediction:
        """The prediction with a function of support and clean estimates (B, *S) of real parts; tokens stay."""
        return self

    def lerp(self, other: Any, weight: Number) -> Prediction:
        """self + weight * (other - self), weight a number or (B,); the same in every space, with both as branches."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement lerp(other, weight)")

    def sample(self, draw: Draw) -> State:
        """Clean states drawn from the prediction, (B, *S)."""
        raise NotImplementedError(f"{type(self).__name__} has no law of clean states to draw from")

    def decided(self, draw: Draw, spread: float) -> Prediction:
        """The prediction that is certain of one clean state, drawn from what this one believes.

        Tokens follow their laws; real numbers lie around their mean with standard deviation spread s / sqrt(a^2 + s^2),
        that of data of unit variance where spread is 1. Branches and notes are kept, as `map` keeps them.
        """
        raise NotImplementedError(f"{type(self).__name__} has no law of clean states to draw from")

    def view(self, on: str) -> State:
        """What an objective looks at: the "clean" estimate or the "noisy" state."""
        return self.state if on == "noisy" else self.clean

    def note(self, owner: Owner[Memory]) -> Memory:
        """What a guidance has found out on the way; `KeyError` where it has found nothing."""
        return self.notes[owner]

    def noting(self, owner: Owner[Memory], value: Memory) -> Prediction:
        """The prediction with something noted by a guidance; what is noted is a tree with B rows."""
        return altered(self, notes={**self.notes, owner: value})

    def settled(self, state: State, owner: Owner[Memory], value: Memory) -> Prediction:
        """The prediction without the graph of its gradients, something noted; state: the same one without graph."""
        return map_leaves(Tensor.detach, self).noting(owner, value)

    def plain(self) -> Prediction:
        """The prediction alone, without branches and notes."""
        return self if self.branches is None and not self.notes else altered(self, branches=None, notes={})


@dataclass(frozen=True)
class Branches:
    """The two predictions of a contrast.

    Args:
        null, conditional: the predictions.
        weight: the combination is null + weight (conditional - null), weight a number or (B,); None where a rule has
            changed it since.
    """

    null: Prediction
    conditional: Prediction
    weight: Number | None = None

    def bent(self) -> Branches:
        """The same branches of a combination that is no longer linear."""
        return replace(self, weight=None)


def _bent(prediction: Prediction) -> Branches | None:
    return None if prediction.branches is None else prediction.branches.bent()


@dataclass(frozen=True)
class GaussianPrediction(Prediction):
    """Posterior mean of x_0 given x = a x_0 + s noise.

    Args:
        mean: E[x_0 | x], (B, *S), in the unit of the data.
        x: the noisy state, (B, *S).
        a, s: signal and noise at its time, numbers or (B,).
        support: where x has freedom to move.
    """

    mean: Tensor
    x: Tensor
    a: Number
    s: Number
    support: Support = EVERYWHERE

    @property
    def clean(self) -> Tensor:
        """The posterior mean."""
        return self.mean

    @property
    def state(self) -> Tensor:
        """See `Prediction.state`."""
        return self.x

    @property
    def noise(self) -> Tensor:
        """E[noise | x] = (x - a mean) / s, (B, *S)."""
        return (self.x - column(self.a, self.x) * self.mean) / column(self.s, self.x)

    @property
    def velocity(self) -> Tensor:
        """a noise - s x_0, (B, *S), for a and s scaled to a^2 + s^2 = 1."""
        return self.to("velocity")

    @property
    def score(self) -> Tensor:
        """Gradient of log p_t at x by Tweedie's formula, -noise / s, (B, *S)."""
        return -self.noise / column(self.s, self.x)

    def affine(self, space: Space) -> tuple[Tensor, Tensor]:
        """(alpha, beta) float64, of the view alpha x_0 + beta x in a space, each () or broadcasting against (B, *S)."""
        a, s = (torch.as_tensor(value, dtype=torch.float64).clamp_min(LEAST) for value in (self.a, self.s))
        if isinstance(space, str) and space not in SPACES:
            raise ValueError(f"there is no space {space!r}; accepted: clean, {', '.join(SPACES)}")
        alpha, beta = (SPACES[space] if isinstance(space, str) else space)(a, s)
        return column(alpha, self.x), column(beta, self.x)

    def to(self, space: Space) -> Tensor:
        """The prediction in a space, (B, *S)."""
        if space == "clean":
            return self.mean
        alpha, beta = self.affine(space)
        return (alpha * self.mean.double() + beta * self.x.double()).to(self.mean.dtype)

    def map(self, function: Callable[..., Tensor], *others: Any, space: Space = "clean") -> GaussianPrediction:
        """See `Prediction.map`; in all spaces but "clean" the function sees float64."""
        views = (self, *others)
        if space == "clean":
            mean = function(self.support, *(view.mean for view in views))
        else:
            alpha, beta = self.affine(space)
            beyond = beta * self.x.double()
            value = function(self.support, *(alpha * view.mean.double() + beyond for view in views))
            mean = ((value - beyond) / alpha).to(self.mean.dtype)
        return altered(self, mean=self.support.place(mean), branches=_bent(self))

    def reals(self, function: Callable[[Support, Tensor], Tensor]) -> GaussianPrediction:
        """See `Prediction.reals`."""
        return self.map(function)

    def decided(self, draw: Draw, spread: float) -> GaussianPrediction:
        """See `Prediction.decided`."""
        std: Any = spread * self.s / (self.a * self.a + self.s * self.s) ** 0.5
        std = column(std.to(self.mean.dtype), self.mean) if isinstance(std, Tensor) else std
        return self.map(lambda support, mean: mean + std * support.project(draw.normal(mean)))

    def lerp(self, other: Any, weight: Number) -> GaussianPrediction:
        """See `Prediction.lerp`."""
        where = column(weight, self.mean)
        mean = torch.lerp(self.mean, other.mean, where.to(self.mean.dtype) if isinstance(where, Tensor) else where)
        return altered(other, mean=mean, branches=Branches(self.plain(), other.plain(), weight))

    def settled(self, state: Tensor, owner: Owner[Memory], value: Memory) -> Prediction:
        """See `Prediction.settled`."""
        branches, notes = self.branches, self.notes
        if branches is not None or notes:
            branches, notes = map_leaves(Tensor.detach, branches), map_leaves(Tensor.detach, notes)
        return altered(self, mean=self.mean.detach(), x=state, branches=branches, notes={**notes, owner: value})


@dataclass(frozen=True)
class CategoricalPrediction(Prediction):
    """Law of every clean token.

    Args:
        log_probs: log p(x_0^l = v | z), normalized over v, (B, L, V), nats.
        z: the noisy tokens, (B, L) int64.
        support: which places a row has.
    """

    log_probs: Tensor
    z: Tensor
    support: Support = EVERYWHERE

    @property
    def probs(self) -> Tensor:
        """p(x_0^l = v | z), (B, L, V)."""
        return self.log_probs.exp()

    @property
    def clean(self) -> Tensor:
        """The most probable token of every place, (B, L)."""
        return self.log_probs.argmax(-1)

    @property
    def state(self) -> Tensor:
        """See `Prediction.state`."""
        return self.z

    def sample(self, draw: Draw) -> Tensor:
        """Clean tokens drawn independently at every place, (B, L)."""
        return pick(self.log_probs, draw.uniform(*self.z.shape))

    def map(self, function: Callable[..., Tensor], *others: Any, space: Space = "clean") -> CategoricalPrediction:
        """See `Prediction.map`.

        Log-probabilities are defined up to a constant, so their mean over the tokens that are possible in every view is
        taken off. Impossible tokens count as zero and stay impossible; where none is left, this prediction stands.
        """
        views = (self.log_probs, *(other.log_probs for other in others))
        dead = torch.stack([view.isneginf() for view in views]).any(0)
        count = (~dead).sum(-1, keepdim=True).clamp_min(1)

        def centered(log_probs: Tensor) -> Tensor:
            alive = log_probs.masked_fill(dead, 0.0)
            return (alive - alive.sum(-1, keepdim=True) / count).masked_fill(dead, 0.0)

        value = function(self.support, *(centered(view) for view in views)).masked_fill(dead, -torch.inf)
        return altered(self, log_probs=normalized(value, self.log_probs), branches=_bent(self))

    def laws(self, function: Callable[[Tensor], Tensor]) -> CategoricalPrediction:
        """See `Prediction.laws`."""
        return altered(self, log_probs=function(self.log_probs), branches=_bent(self))

    def decided(self, draw: Draw, spread: float) -> CategoricalPrediction:
        """See `Prediction.decided`."""
        chosen = self.sample(draw)[..., None]
        return self.laws(lambda laws: torch.full_like(laws, -torch.inf).scatter(-1, chosen, 0.0))

    def lerp(self, other: Any, weight: Number) -> CategoricalPrediction:
        """See `Prediction.lerp`: log-probabilities are mixed and normalized.

        A token that is impossible in either is impossible; where that leaves none, `other` stands.
        """
        null, given = self.log_probs, other.log_probs
        mixed = geometric(null, given, weight)
        branches = Branches(self.plain(), other.plain(), weight)
        return altered(other, log_probs=normalized(mixed, given), branches=branches)


def geometric(null: Tensor, given: Tensor, weight: Number) -> Tensor:
    """null + weight (given - null) of logarithms (B, ..., V); what is impossible in either stays impossible."""
    mixed = null + column(weight, given) * (given - null)
    return mixed.masked_fill(null.isneginf() | given.isneginf(), -torch.inf)


def normalized(logits: Tensor, instead: Tensor) -> Tensor:
    """Log-probabilities of logits (..., V) over their last axis; those of `instead` (..., V) where all are -inf."""
    empty = logits.isneginf().all(-1, keepdim=True)
    return torch.where(empty, instead, torch.log_softmax(logits, -1))


@dataclass(frozen=True)
class CompositePrediction(Prediction):
    """One prediction a part."""

    parts: Mapping[str, Prediction]
    mask: Tensor | None = None

    @property
    def clean(self) -> Composite:
        """The point estimates of all parts."""
        return Composite({name: part.clean for name, part in self.parts.items()}, self.mask)

    @property
    def state(self) -> Composite:
        """See `Prediction.state`."""
        return Composite({name: part.state for name, part in self.parts.items()}, self.mask)

    def sample(self, draw: Draw) -> Composite:
        """See `Prediction.sample`."""
        return Composite({name: part.sample(draw.named(name)) for name, part in self.parts.items()}, self.mask)

    def map(self, function: Callable[..., Tensor], *others: Any, space: Space = "clean") -> Prediction:
        """See `Prediction.map`."""
        mapped = {
            name: part.map(function, *(other.parts[name] for other in others), space=space)
            for name, part in self.parts.items()
        }
        return altered(self, parts=mapped, branches=_bent(self))

    def laws(self, function: Callable[[Tensor], Tensor]) -> Prediction:
        """See `Prediction.laws`."""
        parts = {name: part.laws(function) for name, part in self.parts.items()}
        return altered(self, parts=parts, branches=_bent(self))

    def reals(self, function: Callable[[Support, Tensor], Tensor]) -> Prediction:
        """See `Prediction.reals`."""
        parts = {name: part.reals(function) for name, part in self.parts.items()}
        return altered(self, parts=parts, branches=_bent(self))

    def decided(self, draw: Draw, spread: float) -> Prediction:
        """See `Prediction.decided`."""
        parts = {name: part.decided(draw.named(name), spread) for name, part in self.parts.items()}
        return altered(self, parts=parts, branches=_bent(self))

    def lerp(self, other: Any, weight: Number) -> Prediction:
        """See `Prediction.lerp`."""
        parts = {name: part.lerp(other.parts[name], weight).plain() for name, part in self.parts.items()}
        return altered(other, parts=parts, branches=Branches(self.plain(), other.plain(), weight))
