"""Sums, products and negations of rewards, whatever they are rewards of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

Reward = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Sum:
    """Weighted sum of rewards.

    Args:
        terms: rewards of the same kind of object.
        weights: one a term; None is 1 for each.
    """

    terms: Sequence[Reward]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Refuse weights that do not match the terms."""
        if self.weights is not None and len(self.weights) != len(self.terms):
            raise ValueError(f"{len(self.weights)} weights for {len(self.terms)} rewards; one each is needed")

    def __call__(self, obj: Any) -> Any:
        """sum_k w_k r_k(obj)."""
        weights = self.weights or [1.0] * len(self.terms)
        return sum(w * term(obj) for w, term in zip(weights, self.terms, strict=True))

    @property
    def floor(self) -> float | None:
        """Least value, where every term has one and every weight is positive."""
        floors = [getattr(term, "floor", None) for term in self.terms]
        weights = self.weights or [1.0] * len(floors)
        if None in floors or min(weights) < 0:
            return None
        return sum(w * f for w, f in zip(weights, floors, strict=True))


@dataclasses.dataclass(frozen=True)
class Product:
    """Product of rewards that are never negative: an object must please all of them.

    Raises:
        ValueError: a term says (by its `floor`) that it can be negative; two such terms would reward what both dislike.
    """

    terms: Sequence[Reward]

    def __post_init__(self) -> None:
        """Refuse terms that may be negative; a plain function says nothing and is trusted."""
        for term in self.terms:
            floor = getattr(term, "floor", 0.0)
            if floor is None or floor < 0:
                name = getattr(term, "name", type(term).__name__)
                raise ValueError(f"a product needs rewards of at least 0, and {name} can be negative: use a sum")

    def __call__(self, obj: Any) -> Any:
        """prod_k r_k(obj)."""
        return math.prod(term(obj) for term in self.terms)

    floor = 0.0


@dataclasses.dataclass(frozen=True)
class Negation:
    """The reward with its sign turned: what was to be avoided."""

    term: Reward
    floor = None

    def __call__(self, obj: Any) -> Any:
        """-r(obj)."""
        return -self.term(obj)
