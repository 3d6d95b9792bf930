"""Black-box rewards of objects: scored once, remembered, counted."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective, usable
from guidekit.core.objects import Objects
from guidekit.core.prior import Prior
from guidekit.core.state import State, batch, leaves
from guidekit.objectives.pool import TOO_LONG
from guidekit.objectives.scoring import digest, outcomes


class ObjectReward(Objective[None]):
    """A black-box reward of decoded objects: each distinct object is scored once and remembered.

    An object that cannot be decoded scores minus infinity and is counted as invalid; one on which the function raises,
    takes too long, or returns anything but one number below infinity scores minus infinity and is counted as failed.
    None of them stops the run. Minus infinity is a score: the function rejects the object.

    Args:
        function: object -> number, higher is better; `Isolated` ones run in other processes.
        name: for tables and messages.
        memory: most distinct states remembered.

    Attributes:
        paid: outcomes by name of the object, kept by somebody else; an outcome that is there is not made again but
            counted as if it were, any other is put in.
        allow: told how many objects are about to be scored; raises where there are too many.
    """

    on = "objects"
    paid: MutableMapping[str, float | str] | None = None
    allow: Callable[[int], None] | None = None

    def __init__(self, function: Callable[[Any], float], name: str = "reward", memory: int = 200_000) -> None:
        self.function, self.title, self.memory = function, name, memory
        self.temperature, self.floor = getattr(function, "temperature", None), getattr(function, "floor", math.nan)
        self._ledger = Ledger()
        self._states: dict[str, float] = {}
        self._objects: dict[str, float] = {}
        self._warned = False

    @property
    def name(self) -> str:
        """See `Objective.name`."""
        return self.title

    def spent(self) -> Ledger:
        """See `Objective.spent`."""
        return self._ledger + Ledger()

    def scores(self, states: Sequence[Any], t: float | Tensor, rows: None) -> Tensor:
        """Rewards (B,) float64 of objects, of `Objects` each distinct state decoded once."""
        if not isinstance(states, Objects):
            names = [None if obj is None else digest(obj) or str(i) for i, obj in enumerate(states)]
            self._learn([None] * len(names), names, dict(zip(names, states, strict=True)), len(names))
            return torch.tensor([self._score_of(name) for name in names], dtype=torch.float64)
        keys = [self._key(states.language, row) for row in states.keys]
        if len(self._states) > self.memory:
            self._states.clear()
            self._objects.clear()
        fresh = [i for i, key in enumerate(keys) if key not in self._states]
        if not fresh:
            self._ledger.reward_repeated += len(states.place)
        else:
            objects, new = states.distinct(fresh), [keys[i] for i in fresh]
            names = [None if obj is None else digest(obj) or key for key, obj in zip(new, objects, strict=True)]
            self._learn(new, names, dict(zip(names, objects, strict=True)), len(states.place))
        values = torch.tensor([self._states[key] for key in keys], dtype=torch.float64)
        return values[states.place].to(leaves(states.states)[0].device)

    @staticmethod
    def _key(language: str, row: bytes) -> str:
        """Of a state: those of one language that are equal share one."""
        return hashlib.blake2b(row, digest_size=16, key=hashlib.sha256(language.encode()).digest()).hexdigest()

    def _score_of(self, name: str | None) -> float:
        return -math.inf if name is None else self._objects[name]

    def _learn(
        self, keys: Sequence[str | None], names: Sequence[str | None], objects: Mapping[Any, Any], asked: int
    ) -> None:
        """Score what is new among the objects of states; asked: of how many states scores were wanted."""
        found = {name: obj for name, obj in objects.items() if name is not None}
        new = [name for name in found if name not in self._objects]
        if self.allow is not None:
            self.allow(len(new))
        made = self._made({name: found[name] for name in new})
        self._objects.update({name: self._counted(made[name]) for name in new})
        for key, name in zip(keys, names, strict=True):
            if key is not None:
                self._states[key] = self._score_of(name)
        invalid = list(names).count(None)
        self._ledger.reward_invalid += invalid
        self._ledger.reward_repeated += asked - invalid - len(new)

    def _made(self, objects: Mapping[str, Any]) -> Mapping[str, float | str]:
        """Outcomes of objects by name, paid for now or before."""
        paid = {} if self.paid is None else self.paid
        asked = [name for name in objects if name not in paid]
        began = time.perf_counter()
        for i, outcome in outcomes(self.function, [objects[name] for name in asked]):
            paid[asked[i]] = outcome
        self._ledger.reward_seconds += time.perf_counter() - began if asked else 0.0
        return paid

    def _counted(self, outcome: float | str) -> float:
        self._ledger.reward_calls += 1
        if not isinstance(outcome, str):
            return outcome
        self._ledger.count_failure(outcome, outcome.startswith(TOO_LONG))
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"reward {self.name} {outcome}; such objects score minus infinity and are counted", stacklevel=4
            )
        return -math.inf

    def remembered(self) -> list[float]:
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


def score(
    prior: Prior, objective: Objective, states: State, ledger: Ledger | None = None, seen: Objects | None = None
) -> Tensor:
    """An objective (B,) float64 of clean states of a prior, outside of a run.

    Args:
        prior: whose codec decodes them.
        objective: the objective.
        states: (B, *S).
        ledger: counts scores that are none; they are minus infinity.
        seen: the objects of the states, where somebody else looks at them as well; None decodes them anew.
    """
    things = Objects(states, prior.decode, prior.language) if seen is None else seen

    def shown(on: str) -> Any:
        return things if on == "objects" else states

    scores = objective.look(shown, 0.0, objective.rows(batch(states))).double()
    counted = Ledger() if ledger is None else ledger
    values = usable(scores, counted)
    counted.settled()
    return values
