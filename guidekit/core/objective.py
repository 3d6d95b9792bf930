"""What is wanted of a sample: a score for every state, and the algebra of scores."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

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


def usable(scores: Tensor, ledger: Ledger) -> Tensor:
    """Scores with minus infinity where there is none (NaN, plus infinity), which the ledger counts as failures."""
    for reason, wrong in (("returned NaN", scores.isnan()), ("returned plus infinity", scores.isposinf())):
        ledger.count_later("reward_failures", wrong.sum(), reason)
        scores = scores.masked_fill(wrong, -torch.inf)
    return scores


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
    rate: float | None = None
    """Of steps along its gradient at clean states, where it suggests one; about 1 / curvature."""
    unit: str = ""
    """Of the scores, for tables."""
    floor: float | None = math.nan
    """What scores never fall below; None where they may be any number, NaN where nobody says. Products go by it."""

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

    @property
    def factors(self) -> tuple[Objective, ...]:
        """Objectives of which this one is the product."""
        return (self,)

    @property
    def members(self) -> tuple[Objective, ...]:
        """The objectives that it is combined of, none of them a combination."""
        return (self,)

    def scores(self, states: Any, t: Number, rows: Any) -> Tensor:
        """(B,) for B states (or a list of B objects, None where there is none) at time t; rows: its slot, (B, ...)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement scores(states, t, rows)")

    def check(self, prior: Prior) -> None:
        """Raise `GuidanceError` where it cannot judge states of a prior."""

    def spent(self) -> Ledger:
        """What its scores have cost since it was made, where it counts by itself."""
        return Ledger()

    @property
    def clean_terms(self) -> int:
        """How many rewards of clean states it is made of, for counting."""
        return int(self.on == "clean")

    def __call__(self, states: Any, t: Number = 0.0, rows: Any = None) -> Tensor:
        """The scores (B,), or `ScoreError` where they are none."""
        found, size = self.scores(states, t, rows), len(states) if self.on == "objects" else batch(states)
        if size == 1 and isinstance(found, Tensor) and found.ndim == 0:
            found = found[None]
        if not isinstance(found, Tensor) or found.shape != (size,):
            given = f"scores of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ScoreError(f"{self.name} gave {given} for {size} states: give one number a state, shape ({size},)")
        return found

    def look(self, view: Callable[[str], Any], t: Number, rows: Any) -> Tensor:
        """The scores (B,) of what `view` shows of the states by the names that `on` may have: of its parts only."""
        seen = view(self.on)
        if self.parts is not None and self.on != "objects":
            seen = replace(seen, parts={name: seen.parts[name] for name in self.parts})
        return self(seen, t, rows)

    def __add__(self, other: Objective) -> Objective:
        return Sum((*self.terms, *other.terms))

    def __mul__(self, factor: float | Objective) -> Objective:
        if isinstance(factor, Objective):
            return Product((*self.factors, *factor.factors))
        return Sum(tuple((factor * weight, term) for weight, term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __sub__(self, other: Objective) -> Objective:
        return self + -other


GOAL = "what the run obeys"
Goal = Annotated[Objective, GOAL]
"""The type of an optional argument that takes what the run obeys, reward or likelihood; without it others are meant."""


class Combination(Objective[tuple[Any, ...]]):
    """Base of objectives made of others, each of which looks at what it wants to see. Its slot holds one a piece."""

    pieces: tuple[Objective, ...]

    @property
    def on(self) -> str:  # type: ignore[override]
        """What all pieces look at; "clean" where they differ."""
        seen = {piece.on for piece in self.pieces}
        return seen.pop() if len(seen) == 1 else "clean"

    @property
    def members(self) -> tuple[Objective, ...]:
        """See `Objective.members`."""
        return tuple(dict.fromkeys(member for piece in self.pieces for member in piece.members))

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """True where all pieces are."""
        return all(piece.differentiable for piece in self.pieces)

    @property
    def parts(self) -> frozenset[str] | None:  # type: ignore[override]
        """What any piece looks at."""
        return together([piece.parts for piece in self.pieces])

    def rows(self, samples: int) -> tuple[Any, ...] | None:
        """See `Objective.rows`."""
        held = tuple(piece.rows(samples) for piece in self.pieces)
        return None if all(each is None for each in held) else held

    def check(self, prior: Prior) -> None:
        """See `Objective.check`."""
        for piece in self.pieces:
            piece.check(prior)

    @property
    def clean_terms(self) -> int:
        """See `Objective.clean_terms`."""
        return sum(member.clean_terms for member in self.members)

    def spent(self) -> Ledger:
        """See `Objective.spent`."""
        return sum((member.spent() for member in self.members), Ledger())

    def joined(self, values: Sequence[Tensor]) -> Tensor:
        """The score (B,) from those of the pieces."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement joined(values)")

    def look(self, view: Callable[[str], Any], t: Number, rows: tuple[Any, ...] | None) -> Tensor:
        """See `Objective.look`; nothing is shown, or decoded, twice."""
        once, held = functools.cache(view), rows or (None,) * len(self.pieces)
        values = [piece.look(once, t, mine) for piece, mine in zip(self.pieces, held, strict=True)]
        return self.joined(torch.broadcast_tensors(*values))

    def scores(self, states: Any, t: Number, rows: tuple[Any, ...] | None) -> Tensor:
        """See `Objective.scores`: all pieces look at the same states."""
        return self.look(lambda on: states, t, rows)

    @property
    def relaxed(self) -> Callable[..., Tensor]:
        """(probabilities, ...) -> the combination (B,) of the relaxed pieces; missing where one has none."""
        pieces = [piece.relaxed for piece in self.pieces]  # type: ignore[attr-defined]  # an AttributeError is an answer
        return lambda *given: self.joined([piece(*given) for piece in pieces])


@dataclass(frozen=True, eq=False)
class Sum(Combination):
    """sum_i weight_i objective_i.

    Raises:
        ValueError: there is no term, or a weight is not finite.
    """

    given: tuple[tuple[float, Objective], ...]

    def __post_init__(self) -> None:
        """Refuse what is no sum."""
        if not self.given or not all(math.isfinite(weight) for weight, _ in self.given):
            raise ValueError(f"a sum needs terms with finite weights, got {[weight for weight, _ in self.given]}")

    @property
    def name(self) -> str:
        """The terms with their weights."""
        return " + ".join(term.name if weight == 1 else f"{weight:g} {term.name}" for weight, term in self.given)

    @property
    def terms(self) -> tuple[tuple[float, Objective], ...]:
        """See `Objective.terms`."""
        return self.given

    @property
    def pieces(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """The terms without their weights."""
        return tuple(term for _, term in self.given)

    @property
    def floor(self) -> float | None:  # type: ignore[override]
        """That of the terms, where all have one and no weight is negative."""
        floors = [None if weight < 0 or term.floor is None else weight * term.floor for weight, term in self.given]
        return None if None in floors else math.fsum(floors)  # type: ignore[arg-type]

    @property
    def rate(self) -> float | None:  # type: ignore[override]
        """For the sum of the curvatures of the terms that suggest one."""
        curved = math.fsum(abs(weight) / term.rate for weight, term in self.given if term.rate)
        return 1 / curved if curved else None

    def joined(self, values: Sequence[Tensor]) -> Tensor:
        """See `Combination.joined`; minus infinity (rejected) under a negative weight stays minus infinity."""
        total = torch.stack([weight * value for (weight, _), value in zip(self.given, values, strict=True)]).sum(0)
        return total.masked_fill(torch.stack(tuple(values)).isneginf().any(0), -torch.inf)


@dataclass(frozen=True, eq=False)
class Product(Combination):
    """prod_i objective_i of objectives that are never negative: a state must please all of them.

    Raises:
        ValueError: a factor says (by its `floor`) that it can be negative; two such factors would reward what both
            dislike. One that says nothing is trusted.
    """

    given: tuple[Objective, ...]
    floor = 0.0

    @property
    def factors(self) -> tuple[Objective, ...]:
        """See `Objective.factors`."""
        return self.given

    def __post_init__(self) -> None:
        """Refuse factors that may be negative."""
        for factor in self.given:
            if factor.floor is None or factor.floor < 0:
                raise ValueError(f"a product needs rewards of at least 0, and {factor.name} can be negative: use a sum")

    @property
    def name(self) -> str:
        """The factors."""
        return " x ".join(factor.name for factor in self.given)

    @property
    def pieces(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """The factors."""
        return self.given

    def joined(self, values: Sequence[Tensor]) -> Tensor:
        """See `Combination.joined`; what one factor rejects (minus infinity) is rejected."""
        stacked = torch.stack(tuple(values))
        return stacked.clamp_min(0).prod(0).masked_fill(stacked.isneginf().any(0), -torch.inf)
