"""The samples in flight: P groups of K particles, and everything that belongs to each particle."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from guidekit.core.predictions import Prediction
from guidekit.core.state import State, rows_differ, tree_index, tree_put, tree_repeat

if TYPE_CHECKING:
    from guidekit.core.run import Run

Time = float | Tensor

BEFORE = " before"
"""Ending of the names under which the memory of the last prediction is kept, for samplers that ask twice a step."""


class Answer(NamedTuple):
    """A network answer and what it was asked for."""

    state: State
    time: Time
    prediction: Prediction


class Population:
    """P independent groups of K particles; rows are ordered group by group.

    Populations are values: `advance`, `select`, `expand` and `remember` return new ones. Whatever belongs to a particle
    (state, condition, weight, memory, cached network answer) moves with it in `select`, so no plug can forget a cache.

    Attributes:
        run: the execution this population belongs to.
        groups, particles: P and K.
        state: (P * K, *S).
        condition: pytree with leading P * K, or None.
        log_weights: (P, K) float64, unnormalised, nats.
        log_normalizer: (P,) float64, log of the evidence estimate so far, nats.
        memory: per-particle tensors kept by plugs and samplers, each (P * K, ...).
    """

    def __init__(self, run: Run, groups: int, particles: int, state: State, condition: State | None = None) -> None:
        self.run, self.groups, self.particles = run, groups, particles
        self.state, self.condition = state, condition
        self.log_weights = torch.zeros(groups, particles, dtype=torch.float64, device=run.device)
        self.log_normalizer = torch.zeros(groups, dtype=torch.float64, device=run.device)
        self.memory: dict[str, Tensor] = {}
        self._answer: Answer | None = None

    def __len__(self) -> int:
        """Number of particles in all, P * K."""
        return self.groups * self.particles

    def time(self, t: float) -> Time:
        """The time of every particle (P * K,), or t where the sampler keeps no time of its own."""
        return self.memory.get("time", t)

    def predict(self, t: float) -> Prediction:
        """The guided belief about the clean state; computed once for a state and a time.

        Where neither network nor guidance looks at the time, rows whose state has not changed keep their answer.
        """
        time, known = self.time(t), self._answer
        if known is not None and known.state is self.state and (known.time is time or self.run.time_independent):
            self.run.ledger.cached_rows += len(self)
            return known.prediction
        if known is not None and self.run.time_independent:
            prediction = self._update(known, time)
        elif known is not None and known.state is self.state and _same_time(known.time, time):
            prediction = known.prediction
        else:
            prediction = self._denoise(time)
        self._answer = Answer(self.state, time, prediction)
        return prediction

    def _update(self, known: Answer, time: Time) -> Prediction:
        changed = rows_differ(known.state, self.state).nonzero()[:, 0]
        self.run.ledger.cached_rows += len(self) - len(changed)
        if len(changed) == 0:
            return known.prediction
        if len(changed) == len(self):
            return self._denoise(time)
        return tree_put(known.prediction, changed, self._denoise(time, changed))

    def _denoise(self, time: Time, rows: Tensor | None = None) -> Prediction:
        """The guided belief about the given rows, all by default; what plugs want remembered goes to the memory."""
        everything = (self.state, time if isinstance(time, Tensor) else None, self.condition, self.memory)
        if rows is not None:
            everything = tuple(None if tree is None else tree_index(tree, rows) for tree in everything)
        state, times, condition, memory = everything
        with self.run.remembering(memory):
            prediction = self.run.denoise(state, time if times is None else times, condition)
        new = prediction.parts.get("memory")
        if new is None:
            return prediction
        if rows is not None:
            new = {name: self.memory[name].index_copy(0, rows, value) for name, value in new.items()}
        nothing = torch.empty(len(self), 0, device=self.run.device)
        old = {name + BEFORE: self.memory.get(name, nothing) for name in new}
        self.memory = {**self.memory, **new, **old}
        return dataclasses.replace(prediction, parts={k: v for k, v in prediction.parts.items() if k != "memory"})

    def remembered(self) -> dict[str, Tensor]:
        """What plugs had remembered when the present prediction was asked for."""
        found = {name.removesuffix(BEFORE): v for name, v in self.memory.items() if name.endswith(BEFORE)}
        return {name: value for name, value in found.items() if value.shape[1:] != (0,)}

    def believing(self, t: float, prediction: Prediction) -> Population:
        """The population with a given belief at its present state and time, in place of the network's."""
        new = copy.copy(self)
        new._answer = Answer(self.state, self.time(t), prediction)
        return new

    def advance(self, state: State, **memory: Tensor) -> Population:
        """The population at a new state; `memory` replaces entries of the same name."""
        new = copy.copy(self)
        new.state = state
        if memory:
            new.memory = {**self.memory, **memory}
        return new

    def remember(self, **memory: Tensor) -> Population:
        """The population with entries (P * K, ...) added to or replaced in its memory."""
        return self.advance(self.state, **memory)

    def weighted(self, log_weights: Tensor, log_normalizer: Tensor | None = None) -> Population:
        """The population with other log-weights (P, K) and, where given, another log-normaliser (P,)."""
        new = copy.copy(self)
        new.log_weights = log_weights
        if log_normalizer is not None:
            new.log_normalizer = log_normalizer
        return new

    def select(self, ancestors: Tensor) -> Population:
        """Every group replaced by the particles chosen from it; ancestors (P, K') int64 in 0 .. K - 1."""
        first = torch.arange(self.groups, device=ancestors.device)[:, None] * self.particles
        return self._rows((first + ancestors).flatten(), ancestors.shape[1], self.log_weights.gather(1, ancestors))

    def expand(self, times: int) -> Population:
        """Every particle repeated `times` times in a row: P groups of K * times particles."""
        if times == 1:
            return self
        new = self._mapped(lambda tree: tree_repeat(tree, times))
        new.particles = self.particles * times
        new.log_weights = self.log_weights.repeat_interleave(times, 1)
        return new

    def _rows(self, rows: Tensor, particles: int, log_weights: Tensor) -> Population:
        new = self._mapped(lambda tree: tree_index(tree, rows))
        new.particles, new.log_weights = particles, log_weights
        return new

    def _mapped(self, function) -> Population:
        new = copy.copy(self)
        new.state = function(self.state)
        new.condition = None if self.condition is None else function(self.condition)
        new.memory = {name: function(value) for name, value in self.memory.items()}
        if self._answer is not None:
            known = self._answer
            state = new.state if known.state is self.state else function(known.state)
            time = function(known.time) if isinstance(known.time, Tensor) else known.time
            if known.time is self.memory.get("time"):
                time = new.memory["time"]
            new._answer = Answer(state, time, function(known.prediction))
        return new


def _same_time(a: Time, b: Time) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and bool((a == b).all())
    return a == b
