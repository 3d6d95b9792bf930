"""A likelihood of values in a science's own unit, as one of states: the one place where units meet networks."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.core.units import Units
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.objectives.operators.base import Operator
from guidekit.objectives.operators.composition import Scaled


@dataclasses.dataclass(frozen=True, eq=False)
class OfValues(Operator):
    """operator(scale * state + shift) of an operator that is not linear.

    Args:
        operator: of values, or a function of them.
        units: of the states.
    """

    operator: Any
    units: Units

    @property
    def __name__(self) -> str:  # for messages
        return getattr(self.operator, "__name__", type(self.operator).__name__)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """That of the operator."""
        return getattr(self.operator, "differentiable", True)

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return getattr(self.operator, "forward", self.operator)(self.units.values(x))

    def violation(self, x: Tensor, y: Tensor) -> Tensor | None:
        """See `Operator.violation`."""
        return self.operator.violation(self.units.values(x), y) if isinstance(self.operator, Operator) else None

    def spent(self) -> Ledger | None:
        """See `Operator.spent`."""
        return self.operator.spent() if isinstance(self.operator, Operator) else None

    def within(self, y: Tensor) -> Tensor:
        """See `Operator.within`."""
        return self.operator.within(y) if isinstance(self.operator, Operator) else y


def in_units(likelihood: GaussianLikelihood, units: Units, shape: tuple[int, ...]) -> GaussianLikelihood:
    """The likelihood of states, given one whose operator, measurement and noise are in a science's own unit.

    A linear operator stays linear with all that it offers, and the shift moves into the measurement:
    y - A(scale x + shift) = (y - A shift) - (scale A) x. The noise stays as it is, in the unit of the measurement.

    Args:
        likelihood: of values.
        units: `prior.units`.
        shape: S, of one state without the batch.
    """
    if units.plain:
        return likelihood
    operator = likelihood.operator
    if not getattr(operator, "linear", False):
        return dataclasses.replace(likelihood, operator=OfValues(operator, units))
    y = likelihood.y
    if units.shift:
        y = y - operator.forward(torch.full((1, *shape), units.shift, dtype=y.dtype, device=y.device))
    return dataclasses.replace(likelihood, operator=Scaled(operator, units.scale), y=y)
