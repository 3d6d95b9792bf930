"""Constraints on what may be inserted, for the sampler `insertion`: they hold at every state, and so at the last one.

A constraint is one that insertions alone can break: it holds of the empty state, and what breaks it is never mended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from guidekit.core.prior import Prior
from guidekit.errors import UnknownNameError

if TYPE_CHECKING:
    from guidekit.samplers.insertion import Held


class Constraint:
    """Base of all constraints: allows everything.

    Attributes:
        given: ids (L,) of places that are known from the start, -1 elsewhere; None where none are.
    """

    given: Tensor | None = None

    def check(self, prior: Prior) -> None:
        """Raise `GuidanceError` where states of a prior are none that it can judge."""

    def opened(self, weights: Tensor, z: Tensor, process: Any) -> Tensor:
        """Weights (B, L, V) of insertions at z (B, L), zero at those that are known at a glance to be refused."""
        return weights

    def begin(self, tokens: Tensor, process: Any) -> Any:
        """What is remembered of a row (L,) while elements are inserted."""
        return None

    def allows(self, held: Any, place: int, token: int) -> bool:
        """Whether a token may be inserted at a place."""
        return True

    def insert(self, held: Any, place: int, token: int) -> None:
        """Remember that a token was inserted."""

    def end(self, held: Any) -> None:
        """The step is over: what was remembered of a row may be kept for the next one."""

    def complete(self, z: Tensor, row: int, probs: Tensor, process: Any, held: Held) -> None:
        """Insert into a row of z (B, L), in place, what is still missing at the end, by probabilities (L, V)."""


def named() -> Mapping[str, Callable[..., Constraint]]:
    """Constraints by the name that settings give them."""
    from guidekit.samplers.graph_constraints import Acyclic, Connected, Degree, Planar

    return {"acyclic": Acyclic, "planar": Planar, "connected": Connected, "degree": Degree}


def constraints_from(given: Sequence[Constraint | str] | Constraint | str) -> tuple[Constraint, ...]:
    """Constraints from objects and names such as "planar" or "degree=3".

    Raises:
        UnknownNameError: no constraint of that name.
        ValueError: what is none, or a number that it does not take.
    """
    found = []
    for each in [given] if isinstance(given, Constraint | str) else given:
        if isinstance(each, str):
            names = named()
            name, _, number = each.partition("=")
            if name not in names:
                raise UnknownNameError("constraint", name, names)
            if bool(number) != (name == "degree") or (number and not number.isdigit()):
                raise ValueError(f"constraint {each!r}; accepted: acyclic, planar, connected, degree=3 with any number")
            each = names[name](int(number)) if number else names[name]()
        if not isinstance(each, Constraint):
            raise ValueError(f"constraint {each!r} is none; give an object of guidekit.samplers.constraints or a name")
        found.append(each)
    return tuple(found)


__all__ = ["Constraint", "constraints_from"]
