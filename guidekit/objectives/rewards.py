"""Rewards: numbers to be made large, of clean states or of the objects they decode to."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.core.state import State
from guidekit.objectives.pool import TOO_LONG
from guidekit.objectives.scoring import digest, outcomes


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

    An object that cannot be decoded scores minus infinity and is counted as invalid; one on which the function raises,
    takes too long, or returns anything but one number below infinity scores minus infinity and is counted as failed.
    None of them stops the run. Minus infinity is a score: the function rejects the object.

    Args:
        function: object -> number, higher is better; `Isolated` ones run in other processes.
        decode: states (B, *S) -> objects, None where there is none.
        name: for tables and messages.
        memory: most distinct states remembered.

    Attributes:
        paid: outcomes by name of the object, kept by somebody else; an outcome that is there is not made again but
            counted as if it were, any other is put in.
    """

    differentiable = False
    paid: MutableMapping[str, float | str] | None = None

    def __init__(
        self,
        function: Callable[[Any], float],
        decode: Callable[[State], Sequence[Any]],
        name: str = "reward",
        memory: int = 200_000,
    ) -> None:
        self.function, self.decode, self.name, self.memory = function, decode, name, memory
        self._states: dict[str, float] = {}
        self._objects: dict[str, float] = {}
        self._warned = False

    def __call__(self, states: State, ledger: Ledger | None = None) -> Tensor:
        """Rewards (B,) float64 of clean states; counts go to the ledger where one is given."""
        rows, inverse = torch.unique(states, dim=0, return_inverse=True)
        keys = [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in rows.cpu().numpy()]
        if len(self._states) > self.memory:
            self._states.clear()
            self._objects.clear()
        fresh = [i for i, key in enumerate(keys) if key not in self._states]
        if fresh:
            objects = self.decode(rows[torch.tensor(fresh, device=rows.device)])
            self._learn([keys[i] for i in fresh], objects, ledger or Ledger())
        values = torch.tensor([self._states[key] for key in keys], dtype=torch.float64)
        return values.to(inverse.device)[inverse]

    def _learn(self, keys: Sequence[str], objects: Sequence[Any], ledger: Ledger) -> None:
        """Score what is new among the objects of states."""
        names = [None if obj is None else digest(obj) or key for key, obj in zip(keys, objects, strict=True)]
        found = {name: obj for name, obj in zip(names, objects, strict=True) if obj is not None}
        new = [name for name in found if name not in self._objects]
        made = self._made({name: found[name] for name in new})
        self._objects.update({name: self._counted(made[name], ledger) for name in new})
        for key, name in zip(keys, names, strict=True):
            self._states[key] = -math.inf if name is None else self._objects[name]
        ledger.reward_invalid += names.count(None)

    def _made(self, objects: Mapping[str, Any]) -> Mapping[str, float | str]:
        """Outcomes of objects by name, paid for now or before."""
        paid = {} if self.paid is None else self.paid
        asked = [name for name in objects if name not in paid]
        for i, outcome in outcomes(self.function, [objects[name] for name in asked]):
            paid[asked[i]] = outcome
        return paid

    def _counted(self, outcome: float | str, ledger: Ledger) -> float:
        ledger.reward_calls += 1
        if not isinstance(outcome, str):
            return outcome
        ledger.count_failure(outcome, outcome.startswith(TOO_LONG))
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"reward {self.name} {outcome}; such objects score minus infinity and are counted", stacklevel=4
            )
        return -math.inf

    def scores(self) -> list[float]:
        """Scores of the distinct objects remembered; minus infinity for those rejected or failed."""
        return list(self._objects.values())

    def export(self) -> dict[str, float]:
        """What is remembered, as text and numbers that can be kept in a file."""
        kinds = (("state", self._states), ("object", self._objects))
        return {f"{kind} {key}": value for kind, memory in kinds for key, value in memory.items()}

    def restore(self, known: Mapping[str, float]) -> None:
        """Remember what `export` gave, and nothing else."""
        for kind, memory in (("state ", self._states), ("object ", self._objects)):
            memory.clear()
            memory.update({key.removeprefix(kind): value for key, value in known.items() if key.startswith(kind)})


def score(reward: Callable[..., Tensor], states: State, ledger: Ledger) -> Tensor:
    """Rewards (B,) float64 of clean states by any reward; NaN and plus infinity count as failed: minus infinity."""
    if isinstance(reward, ObjectReward):
        return reward(states, ledger)
    ledger.reward_calls += len(states)
    values = reward(states).double()
    for reason, failed in (("returned NaN", values.isnan()), ("returned plus infinity", values.isposinf())):
        if failed.any():
            ledger.count_failure(reason, times=int(failed.sum()))
        values = values.masked_fill(failed, -math.inf)
    return values
