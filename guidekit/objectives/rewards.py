"""Rewards: numbers to be made large, of clean states or of the objects they decode to."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.core.state import State


@dataclasses.dataclass(frozen=True)
class TableReward:
    """Reward of token sequences read from a table.

    Args:
        table: (V, ..., V) with one axis a position.
    """

    table: Tensor
    differentiable = False

    def __call__(self, tokens: Tensor) -> Tensor:
        """Rewards (B,) float64 of clean tokens (B, L); minus infinity where an id is outside the table (a mask)."""
        size = self.table.shape[0]
        inside = (tokens < size).all(1)
        index = tokens.clamp_max(size - 1).unbind(1)
        return torch.where(inside, self.table.to(tokens.device)[index].double(), -math.inf)

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Mean reward (B,) under independent tokens with the given laws (B, L, V); has a gradient in them."""
        values = self.table.to(probabilities).expand(len(probabilities), *self.table.shape)
        for law in probabilities.unbind(1):
            values = (values * law.reshape(*law.shape, *(1,) * (values.ndim - 2))).sum(1)
        return values


class ObjectReward:
    """A black-box reward of decoded objects: each distinct object is scored once and remembered.

    An object that cannot be decoded scores minus infinity and is counted as invalid; one on which the function raises
    or returns NaN scores minus infinity and is counted as failed. Neither stops the run.

    Args:
        function: object -> number, higher is better.
        decode: states (B, *S) -> objects, None where there is none.
        name: for tables and messages.
        memory: most distinct objects remembered.

    Attributes:
        on_score: told the key and the score (see `export`) of every object on which the function was called.
    """

    differentiable = False
    on_score: Callable[[bytes, float], None] | None = None

    def __init__(
        self,
        function: Callable[[Any], float],
        decode: Callable[[State], Sequence[Any]],
        name: str = "reward",
        memory: int = 200_000,
    ) -> None:
        self.function, self.decode, self.name, self.memory = function, decode, name, memory
        self._known: dict[bytes, float] = {}  # not a number where the function failed
        self._paid: dict[bytes, float] = {}
        self._first_failure: str | None = None

    def __call__(self, states: State, ledger: Ledger | None = None) -> Tensor:
        """Rewards (B,) float64 of clean states; counts go to the ledger where one is given."""
        rows, inverse = torch.unique(states, dim=0, return_inverse=True)
        keys = [row.tobytes() for row in rows.cpu().numpy()]
        fresh = [i for i, key in enumerate(keys) if key not in self._known]
        if fresh:
            if len(self._known) > self.memory:
                self._known.clear()
                fresh = list(range(len(keys)))
            for i, obj in zip(fresh, self.decode(rows[torch.tensor(fresh, device=rows.device)]), strict=True):
                self._known[keys[i]] = self._score(obj, keys[i], ledger or Ledger())
        values = torch.tensor([self._known[key] for key in keys], dtype=torch.float64)
        return values.masked_fill(values.isnan(), -math.inf).to(inverse.device)[inverse]

    def export(self) -> dict[bytes, float]:
        """The scores remembered, by the bytes of a clean state; not a number where the function failed."""
        return dict(self._known)

    def restore(self, known: Mapping[bytes, float], paid: Mapping[bytes, float] | None = None) -> None:
        """Put the memory back.

        Args:
            known: what is remembered, see `export`; such objects count as scored before.
            paid: scores of an interrupted run: asked for one, the function is not called, and the ledger counts as if.
        """
        self._known, self._paid = dict(known), dict(paid or {})

    def _score(self, obj: Any, key: bytes, ledger: Ledger) -> float:
        if obj is None:
            ledger.reward_invalid += 1
            return -math.inf
        ledger.reward_calls += 1
        if key in self._paid:
            ledger.reward_failures += math.isnan(self._paid[key])
            return self._paid[key]
        value = self._called(obj, ledger)
        if self.on_score is not None:
            self.on_score(key, value)
        return value

    def _called(self, obj: Any, ledger: Ledger) -> float:
        try:
            value = float(self.function(obj))
            if not math.isnan(value):
                return value
            reason = "returned NaN"
        except Exception as error:  # a user's reward may raise anything; it must not end the run
            reason = f"raised {type(error).__name__}: {error}"
        ledger.reward_failures += 1
        if self._first_failure is None:
            self._first_failure = reason
            warnings.warn(
                f"reward {self.name} {reason}; such objects score minus infinity and are counted", stacklevel=2
            )
        return math.nan


def score(reward: Callable[..., Tensor], states: State, ledger: Ledger) -> Tensor:
    """Rewards (B,) float64 of clean states by any reward; NaN becomes minus infinity and is counted."""
    if isinstance(reward, ObjectReward):
        return reward(states, ledger)
    ledger.reward_calls += len(states)
    values = reward(states).double()
    failed = values.isnan()
    ledger.reward_failures += int(failed.sum())
    return values.masked_fill(failed, -math.inf)
