"""Rewards of states: functions, tables, and what is made of a function that a guidance was given."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.budget import SpentError
from guidekit.core.objective import Objective, ScoreError
from guidekit.core.requirements import GuidanceError
from guidekit.objectives.worker import reason

Number = float | Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Reward(Objective[None]):
    """A function of clean states, of noisy ones, or of objects.

    Args:
        function: B states (B, *S), or a list of B objects -> (B,).
        on: "clean", "noisy" or "objects", see `Objective`.
        differentiable: whether it has a gradient.
        parts: names of the parts of a composite that it looks at; None is all there is.
        temperature: that suits its unit, for guidance that is given none.
    """

    function: Callable[[Any], Tensor]
    on: str = "clean"
    differentiable: bool = True
    parts: frozenset[str] | None = None
    temperature: float | None = None

    @property
    def name(self) -> str:
        """Of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def floor(self) -> float | None:  # type: ignore[override]
        """What the function says of itself."""
        return getattr(self.function, "floor", math.nan)

    def scores(self, states: Any, t: Number, rows: None) -> Tensor:
        """See `Objective.scores`.

        Raises:
            ScoreError: the function raised something on tokens, or on states of several parts.
        """
        try:
            return self.function(states)
        except (ScoreError, GuidanceError, SpentError):
            raise
        except Exception as error:  # the user's code, whatever it does
            plain = isinstance(states, Tensor)
            if self.on == "objects" or (plain and states.is_floating_point()):
                raise
            shown = f"a tensor {tuple(states.shape)} of {states.dtype}" if plain else f"a {type(states).__name__}"
            raise ScoreError(
                f"the function {self.name} {reason(error)} on {self.on} states, {shown}; a function of one object "
                f"(a molecule, say) becomes a reward by domain.bind({self.name})"
            ) from error


@dataclasses.dataclass(frozen=True, eq=False)
class Value(Objective[None]):
    """What is to be expected of a state at time t: a function that allows for how little is known yet.

    Args:
        function: states (B, *S), t a number or (B,) -> (B,).
        on, differentiable, parts: see `Reward`.
    """

    function: Callable[[Any, Number], Tensor]
    on: str = "noisy"
    differentiable: bool = True
    parts: frozenset[str] | None = None

    def scores(self, states: Any, t: Number, rows: None) -> Tensor:
        """See `Objective.scores`."""
        return self.function(states, t)


@dataclasses.dataclass(frozen=True, eq=False)
class TableReward(Objective[None]):
    """Reward of token sequences read from a table.

    Args:
        table: (V, ..., V) with one axis a position.
    """

    table: Tensor

    @property
    def floor(self) -> float:  # type: ignore[override]
        """Least entry of the table."""
        return float(self.table.min())

    def scores(self, states: Tensor, t: Number, rows: None) -> Tensor:
        """Rewards (B,) float64 of clean tokens (B, L); minus infinity where an id is outside the table (a mask)."""
        size = self.table.shape[0]
        inside = (states < size).all(1)
        index = states.clamp_max(size - 1).unbind(1)
        return torch.where(inside, self.table.to(states.device)[index].double(), -math.inf)

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Mean reward (B,) under independent tokens with the given laws (B, L, V); has a gradient in them."""
        values = self.table.to(probabilities).expand(len(probabilities), *self.table.shape)
        for law in probabilities.unbind(1):
            values = (values * law.reshape(*law.shape, *(1,) * (values.ndim - 2))).sum(1)
        return values


def objective_of(given: Any, who: str, what: str = "reward") -> Objective:
    """What a guidance was given as an objective: objectives as they are, functions of clean states wrapped.

    Raises:
        GuidanceError: neither of both.
    """
    if isinstance(given, Objective):
        return given
    if callable(given) and not isinstance(given, type):
        return Reward(given, differentiable=getattr(given, "differentiable", True))
    if given is None:
        raise GuidanceError(f"{who} needs something to obey: give reward=")
    kind = f"the class {given.__name__}" if isinstance(given, type) else repr(given)
    raise GuidanceError(f"{who} needs {what}: an objective, or a function of states; got {kind}")


__all__ = ["Reward", "ScoreError", "TableReward", "Value", "objective_of"]
