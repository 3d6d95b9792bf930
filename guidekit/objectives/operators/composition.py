"""Operators made of others: one after the other, several at once, in another unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from guidekit.core.requirements import Fact
from guidekit.objectives.operators.base import Operator, Spectrum


@dataclasses.dataclass(frozen=True, eq=False)
class Composed(Operator):
    """outer(inner(x)); linear where both are. A^+ of a product is not the product of theirs, and is not offered.

    Args:
        outer: of what `inner` measures.
        inner: of states.
    """

    outer: Operator
    inner: Operator

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Where both are."""
        return self.outer.linear and self.inner.linear

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Where both are."""
        return self.outer.differentiable and self.inner.differentiable

    @property
    def shape(self) -> tuple[int, ...] | None:
        """S, where the inner operator tells."""
        return getattr(self.inner, "shape", None)

    @property
    def provides(self) -> frozenset[Fact]:
        """The adjoint, where both have one."""
        return frozenset({Fact.ADJOINT}) & self.outer.provides & self.inner.provides

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y of measurements (B, *M), (B, *S)."""
        outer: Any = self.outer
        inner: Any = self.inner
        return inner.adjoint(outer.adjoint(y))

    def within(self, y: Tensor) -> Tensor:
        """See `Operator.within`."""
        return self.outer.within(y)


@dataclasses.dataclass(frozen=True, eq=False)
class Stacked(Operator):
    """Several instruments that look at one state: their measurements (B, m), flattened, one after the other.

    Args:
        operators: one at least.
        shape: S, of a state without the batch.

    Raises:
        ValueError: none, or one that does not take states of this shape.
    """

    operators: Sequence[Operator]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Ask each what it measures."""
        if not self.operators:
            raise ValueError("a stack needs one operator at least")
        for one in self.operators:
            own = getattr(one, "shape", None)
            if own not in (None, tuple(self.shape)):
                raise ValueError(f"{type(one).__name__} is of states {own}, the stack of {tuple(self.shape)}")

    @cached_property
    def sizes(self) -> list[torch.Size]:
        """M of each."""
        return [one.forward(torch.zeros(1, *self.shape)).shape[1:] for one in self.operators]

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Where all are."""
        return all(one.linear for one in self.operators)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Where all are."""
        return all(one.differentiable for one in self.operators)

    @property
    def provides(self) -> frozenset[Fact]:
        """The adjoint, where all have one."""
        return frozenset({Fact.ADJOINT}).intersection(*(one.provides for one in self.operators))

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return torch.cat([one.forward(x).flatten(1) for one in self.operators], 1)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y of measurements (B, m), (B, *S): the sum of theirs."""
        parts: Any = zip(self.operators, self.split(y), strict=True)
        return sum(one.adjoint(part) for one, part in parts)

    def split(self, y: Tensor) -> list[Tensor]:
        """The measurements of each, (B, *M)."""
        pieces = y.split([size.numel() for size in self.sizes], 1)
        return [piece.reshape(len(y), *size) for piece, size in zip(pieces, self.sizes, strict=True)]

    def within(self, y: Tensor) -> Tensor:
        """See `Operator.within`."""
        parts = zip(self.operators, self.split(y), strict=True)
        return torch.cat([one.within(part).flatten(1) for one, part in parts], 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Scaled(Operator):
    """factor A x of a linear A, with all that A offers.

    Args:
        operator: A.
        factor: not 0.

    Raises:
        ValueError: a factor of 0 or that is no number, or an operator that is not linear.
    """

    operator: Any
    factor: float
    linear = True

    def __post_init__(self) -> None:
        """Refuse what has no inverse."""
        if not self.operator.linear or not abs(self.factor) > 0:
            raise ValueError(f"Scaled takes a linear operator and a factor that is not 0, got {self.factor}")

    @property
    def __name__(self) -> str:  # for messages
        return getattr(self.operator, "__name__", type(self.operator).__name__)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """That of A."""
        return self.operator.differentiable

    @property
    def shape(self) -> tuple[int, ...] | None:
        """S, where A tells."""
        return getattr(self.operator, "shape", None)

    @property
    def provides(self) -> frozenset[Fact]:
        """What A provides."""
        return self.operator.provides

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return self.factor * self.operator.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """factor A^T y."""
        return self.factor * self.operator.adjoint(y)

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y / factor."""
        return self.operator.pinv(y) / self.factor

    @cached_property
    def svd(self) -> Spectrum:
        """That of A, with values |factor| times as large."""
        found, sign = self.operator.svd, 1 if self.factor > 0 else -1
        return Spectrum(
            abs(self.factor) * found.values, found.analyze, found.synthesize, lambda y: sign * found.measured(y)
        )

    def violation(self, x: Tensor, y: Tensor) -> Tensor | None:
        """That of A, of factor x."""
        return self.operator.violation(self.factor * x, y)

    def within(self, y: Tensor) -> Tensor:
        """See `Operator.within`."""
        return self.operator.within(y)
