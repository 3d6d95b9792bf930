"""What is wanted of a sample: a score for every state, and the algebra of scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.core.owner import Memory, Owner
from guidekit.core.requirements import Fact, together
from guidekit.core.state import batch

if TYPE_CHECKING:
    from guidekit.core.prior import Prior

Number = float | Tensor


class ScoreError(ValueError):
    """Scores that are not one number a state; the message says whose, and what was expected."""


class Objective(Owner[Memory]):
    """A score for every state, higher is better.

    An objective may hold something for every sample of a run (`rows`): it becomes the objective's slot, and is
    repeated, selected and cut into chunks with the particles. `+`, `-` and `*` by a number make new ones.
    """

    on: str = "clean"
    """What is scored: the "clean" estimate, the "noisy" state, or the "objects" that the prior's codec decodes."""
    differentiable: bool = False
    parts: frozenset[str] | None = None
    """Names of the parts of a composite that are looked at: no others are shown. None is all there is."""
    temperature: float | None = None
    """The temperature that suits its unit, where it suggests one."""
    unit: str = ""
    """Of the scores, for tables."""

    @property
    def name(self) -> str:
        """For tables and messages."""
        return type(self).__name__

    @property
    def provides(self) -> frozenset[Fact]:
        """A gradient, where it has one."""
        return frozenset({Fact.GRADIENT}) if self.differentiable else frozenset()

    @property
    def terms(self) -> tuple[tuple[float, Objective], ...]:
        """Pairs of a weight and an objective, of which this one is the sum."""
        return ((1.0, self),)

    def rows(self, samples: int) -> Any:
        """What it holds for each sample, a tree with so many rows; None is nothing. Raises `ScoreError`."""
        return None

    def scores(self, states: Any, t: Number, rows: Any) -> Tensor:
        """(B,) for B states (or a list of B objects, None where there is none) at time t; rows: its slot, (B, ...)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement scores(states, t, rows)")

    def check(self, prior: Prior) -> None:
        """Raise `GuidanceError` where it cannot judge states of a prior."""

    def spent(self) -> Ledger:
        """What its scores have cost since it was made."""
        return Ledger()

    def __call__(self, states: Any, t: Number = 0.0, rows: Any = None) -> Tensor:
        """The scores (B,), or `ScoreError` where they are none."""
        found, size = self.scores(states, t, rows), len(states) if self.on == "objects" else batch(states)
        if not isinstance(found, Tensor) or found.shape != (size,):
            given = f"scores of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ScoreError(f"{self.name} gave {given} for {size} states: give one number a state, shape ({size},)")
        return found

    def look(self, view: Callable[[str], Any], t: Number, rows: Any) -> Tensor:
        """The scores (B,) of what `view` shows of the states by the names that `on` may have: of its parts only."""
        seen = view(self.on)
        if self.parts is not None:
            seen = replace(seen, parts={name: seen.parts[name] for name in self.parts})
        return self(seen, t, rows)

    def __add__(self, other: Objective) -> Objective:
        return Sum((*self.terms, *other.terms))

    def __mul__(self, factor: float) -> Objective:
        return Sum(tuple((factor * weight, term) for weight, term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __sub__(self, other: Objective) -> Objective:
        return self + -other


@dataclass(frozen=True, eq=False)
class Sum(Objective[tuple[Any, ...]]):
    """sum_i weight_i objective_i; every term looks at what it wants to see. Its slot holds one a term."""

    given: tuple[tuple[float, Objective], ...]

    @property
    def name(self) -> str:
        """The terms with their weights."""
        return " + ".join(term.name if weight == 1 else f"{weight:g} {term.name}" for weight, term in self.given)

    @property
    def terms(self) -> tuple[tuple[float, Objective], ...]:
        """See `Objective.terms`."""
        return self.given

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """True where all terms are."""
        return all(term.differentiable for _, term in self.given)

    @property
    def parts(self) -> frozenset[str] | None:  # type: ignore[override]
        """What any term looks at."""
        return together([term.parts for _, term in self.given])

    def rows(self, samples: int) -> tuple[Any, ...] | None:
        """See `Objective.rows`."""
        held = tuple(term.rows(samples) for _, term in self.given)
        return None if all(each is None for each in held) else held

    def check(self, prior: Prior) -> None:
        """See `Objective.check`."""
        for _, term in self.given:
            term.check(prior)

    def spent(self) -> Ledger:
        """See `Objective.spent`."""
        return sum((term.spent() for _, term in self.given), Ledger())

    def look(self, view: Callable[[str], Any], t: Number, rows: tuple[Any, ...] | None) -> Tensor:
        """See `Objective.look`."""
        held = rows or (None,) * len(self.given)
        values = [weight * term.look(view, t, mine) for (weight, term), mine in zip(self.given, held, strict=True)]
        return torch.stack(torch.broadcast_tensors(*values)).sum(0)

    def scores(self, states: Any, t: Number, rows: tuple[Any, ...] | None) -> Tensor:
        """See `Objective.scores`: all terms look at the same states."""
        return self.look(lambda on: states, t, rows)


@dataclass(frozen=True, eq=False)
class Product(Objective[tuple[Any, ...]]):
    """prod_i objective_i of objectives that are never negative: a state must please all of them."""

    factors: tuple[Objective, ...]

    @property
    def name(self) -> str:
        """The factors."""
        return " x ".join(factor.name for factor in self.factors)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """True where all factors are."""
        return all(factor.differentiable for factor in self.factors)

    @property
    def parts(self) -> frozenset[str] | None:  # type: ignore[override]
        """What any factor looks at."""
        return together([factor.parts for factor in self.factors])

    def rows(self, samples: int) -> tuple[Any, ...] | None:
        """See `Objective.rows`."""
        held = tuple(factor.rows(samples) for factor in self.factors)
        return None if all(each is None for each in held) else held

    def check(self, prior: Prior) -> None:
        """See `Objective.check`."""
        for factor in self.factors:
            factor.check(prior)

    def spent(self) -> Ledger:
        """See `Objective.spent`."""
        return sum((factor.spent() for factor in self.factors), Ledger())

    def look(self, view: Callable[[str], Any], t: Number, rows: tuple[Any, ...] | None) -> Tensor:
        """See `Objective.look`; what one factor rejects (minus infinity) is rejected."""
        held = rows or (None,) * len(self.factors)
        values = [factor.look(view, t, mine) for factor, mine in zip(self.factors, held, strict=True)]
        stacked = torch.stack(torch.broadcast_tensors(*values))
        return stacked.clamp_min(0).prod(0).masked_fill(stacked.isneginf().any(0), -torch.inf)

    def scores(self, states: Any, t: Number, rows: tuple[Any, ...] | None) -> Tensor:
        """See `Objective.scores`."""
        return self.look(lambda on: states, t, rows)
