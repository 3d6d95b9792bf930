"""What a measurement operator may offer beside its forward model: an adjoint, a pseudo-inverse, singular values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.core.requirements import Fact


class Operator:
    """Base of measurements: states (B, *S) to (B, *M), row by row; M need not be S.

    Attributes:
        linear: forward(a x + b z) = a forward(x) + b forward(z).
        differentiable: forward keeps the graph of gradients; a simulator that does not is a black box.
    """

    linear: bool = False
    differentiable: bool = True

    @property
    def provides(self) -> frozenset[Fact]:
        """What it offers beside `forward`: see `Linear`, `Fact.PSEUDO_INVERSE` and `Fact.SVD`."""
        return frozenset()

    def forward(self, x: Tensor) -> Tensor:
        """What is measured of states x (B, *S), without noise, (B, *M)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement forward(x)")

    def violation(self, x: Tensor, y: Tensor) -> Tensor | None:
        """How far states x are from what y allows, (B,); None where the misfit y - A x says it all."""
        return None

    def spent(self) -> Ledger | None:
        """What its calls have cost since it was made, failures among them; None where it does not count them itself."""
        return None

    def within(self, y: Tensor) -> Tensor:
        """What of numbers (B, *M), such as noise, lies where something is measured; by default all of it."""
        return y


class Linear(Operator):
    """A x, with its adjoint; a subclass is a frozen dataclass and may have `pinv(y)` and `svd`, which it offers then.

    Attributes:
        shape: S, of one state without the batch.
    """

    linear = True
    shape: tuple[int, ...]

    @property
    def provides(self) -> frozenset[Fact]:
        """The adjoint; a pseudo-inverse and singular values where the class has them."""
        facts = {Fact.ADJOINT}
        if type(self).pinv is not Linear.pinv:
            facts.add(Fact.PSEUDO_INVERSE)
        if type(self).svd is not Linear.svd:
            facts |= {Fact.SVD, Fact.PSEUDO_INVERSE}
        return frozenset(facts)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y of measurements (B, *M), (B, *S); by differentiation where a class has no formula."""
        with torch.enable_grad():
            x = y.new_zeros(len(y), *self.shape, requires_grad=True)
            (found,) = torch.autograd.grad(self.forward(x), x, y, materialize_grads=True)
        return found

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y of measurements (B, *M), (B, *S): by the singular values unless a class has a formula."""
        return self.svd.pinv(y)

    @property
    def svd(self) -> Spectrum:
        """A = U diag(values) V^T, where a class knows it."""
        raise NotImplementedError(f"{type(self).__name__} has no singular value decomposition")


@dataclass(frozen=True)
class Spectrum:
    """A singular value decomposition A = U diag(values) V^T as functions.

    Coefficients are numbered as the columns of V: as many as a state has entries, complex where V is.

    Args:
        values: singular values >= 0, shape C of the coefficients of one state; 0 where nothing is measured.
        analyze: x (B, *S) -> V^T x, (B, *C).
        synthesize: coefficients (B, *C) -> V c, (B, *S).
        measured: y (B, *M) -> U^T y, (B, *C), 0 where nothing is measured.
    """

    values: Tensor
    analyze: Callable[[Tensor], Tensor]
    synthesize: Callable[[Tensor], Tensor]
    measured: Callable[[Tensor], Tensor]

    def inverse(self, cut: float = 1e-6) -> Tensor:
        """1 / values, 0 where they are below `cut` times the largest, (*C)."""
        least = cut * self.values.max()
        return torch.where(self.values > least, 1 / self.values.clamp_min(least), 0.0)

    def pinv(self, y: Tensor, cut: float = 1e-6) -> Tensor:
        """A^+ y, (B, *S); see `inverse`."""
        return self.synthesize(self.inverse(cut).to(y) * self.measured(y))


class Projection(Linear):
    """An orthogonal projection: linear, self-adjoint, its own pseudo-inverse; a subclass has `forward`."""

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y = A y."""
        return self.forward(y)

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y = A y."""
        return self.forward(y)

    def within(self, y: Tensor) -> Tensor:
        """See `Operator.within`: its range."""
        return self.forward(y)
