"""The samples in flight: P groups of K particles, and everything that belongs to each particle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidekit.core.objective import Objective, usable
from guidekit.core.owner import Memory, Owner
from guidekit.core.prediction import Prediction
from guidekit.core.proposal import Proposal
from guidekit.core.question import Question
from guidekit.core.random import Draw
from guidekit.core.sampler import Here
from guidekit.core.state import State, altered, batch, changed_rows, put, repeat, take
from guidekit.core.step import Key, Moment, Step

if TYPE_CHECKING:
    from guidekit.core.loop import Setup

Time = float | Tensor


@dataclass(frozen=True)
class Answer:
    """A prediction and what it was asked for."""

    state: State
    moment: Moment
    prediction: Prediction


@dataclass(eq=False)
class Population:
    """P independent groups of K particles at one moment; whatever belongs to a particle moves with it in `select`.

    A value: every method returns a new one. Only `predict` keeps its answer, as a cached property does.

    Args:
        setup: of the run.
        particles: K.
        moment: where the particles are.
        key: of the step that led here.
        state: (B, *S).
        condition: tree with B rows, or None.
        log_weights: (P, K) float64, nats.
        log_normalizer: (P,) float64, nats.
        log_ratio: (B,) float64, of changed kernels since the weights last took it in; None where nobody weighs.
        roots: (B,) which particle of the start each descends from.
        slots: memory of guidances, samplers and objectives, trees with B rows; read with `recall`.
        answer: the last prediction, and what it was asked for.
    """

    setup: Setup
    particles: int
    moment: Moment
    key: Key
    state: State
    condition: Any
    log_weights: Tensor
    log_normalizer: Tensor
    log_ratio: Tensor | None
    roots: Tensor
    slots: dict[Owner, Any]
    answer: Answer | None = None

    def __len__(self) -> int:
        """Number of rows B."""
        return self.setup.random.groups * self.particles

    @property
    def groups(self) -> int:
        """Number of groups P."""
        return self.setup.random.groups

    @property
    def device(self) -> torch.device:
        """Where the particles live."""
        return self.log_weights.device

    @property
    def time(self) -> Time:
        """Time of the rows, a number or (B,) where the sampler has times of its own."""
        sampler = self.setup.sampler
        return sampler.time(self.moment, self.slots.get(sampler))

    @property
    def process(self) -> Any:
        """Of the prior."""
        return self.setup.prior.process

    def predict(self) -> Prediction:
        """The guided prediction here and now: asked once for a state and a moment.

        Where neither network nor guidance looks at the time, rows that have not changed keep their answer.
        """
        known, setup = self.answer, self.setup
        if known is not None and known.state is self.state and (setup.timeless or known.moment == self.moment):
            setup.network.ledger.cached_rows += len(self)
            return known.prediction
        if known is not None and setup.timeless and batch(known.state) == len(self):
            rows = changed_rows(known.state, self.state)
            setup.network.ledger.cached_rows += len(self) - len(rows)
            prediction = known.prediction
            if len(rows) == len(self):
                prediction = setup.denoise(self.question())
            elif len(rows):
                prediction = put(prediction, rows, setup.denoise(self.question().take(rows)))
        else:
            prediction = setup.denoise(self.question())
        self.answer = Answer(self.state, self.moment, prediction)
        return prediction

    def believing(self, prediction: Prediction) -> Population:
        """The population with a given prediction here and now, in place of the network's."""
        return altered(self, answer=Answer(self.state, self.moment, prediction))

    def clean(self) -> State:
        """The point estimate of the clean state; at time 0 the state itself, without a network call."""
        return self.state if self.moment.t == 0 else self.predict().clean

    def view(self, on: str) -> Any:
        """What an objective looks at: the "clean" estimate, the "noisy" state, or the "objects" of the clean one."""
        if on == "noisy":
            return self.state
        return self.setup.decode(self.clean()) if on == "objects" else self.clean()

    def score(self, objective: Objective) -> Tensor:
        """An objective here and now, (B,) float64; rewards of clean states are counted."""
        self.count_rewards(objective.clean_terms * len(self))
        scores = objective.look(self.view, self.time, self.slots.get(objective)).double()
        return usable(scores, self.setup.network.ledger)

    def count_rewards(self, number: int) -> None:
        """So many clean states are about to be scored; `SpentError` where the budget does not pay for them."""
        network = self.setup.network
        if network.meter is not None:
            network.meter.spend("reward_calls", number)
        network.ledger.reward_calls += number

    def score_of(self, objective: Objective, states: State, t: Time) -> Tensor:
        """An objective of other states, (B * m, *S): m in a row for every particle; (B * m,)."""
        rows, times = self.slots.get(objective), batch(states) // len(self)
        self.count_rewards(objective.clean_terms * batch(states))
        shown = partial(self.setup.seen, states)
        scores = objective.look(shown, repeat(t, times), rows if rows is None else repeat(rows, times))
        return usable(scores, self.setup.network.ledger)

    def question(self) -> Question:
        """What is the clean state of all particles?"""
        return Question(self, self.state, self.time, self.condition, self.setup.prior)

    def ask(self, x: State, t: Time) -> Prediction:
        """The guided prediction at another state and time, under the schedules of here; a network call."""
        return self.setup.denoise(altered(self.question(), x=x, t=t))

    def here(self, step: Step, prediction: Prediction) -> Here:
        """What a sampler is told."""
        setup = self.setup
        draw = Draw(setup.random, step.key, "sampler")
        return Here(setup.prior.process, prediction, step, self.time, draw, self.ask, setup.steps)

    def draw(self, step: Step, purpose: str, owner: Owner | None = None) -> Draw:
        """Numbers of a step; those of one owner are independent of those of others, wherever they are in the onion."""
        name = purpose if owner is None else f"{self.setup.labels[owner]} {purpose}"
        return Draw(self.setup.random, step.key, name)

    def at(self, state: State, moment: Moment | None = None, key: Key | None = None) -> Population:
        """The same particles at another state, and maybe moment and key."""
        return altered(self, state=state, moment=moment or self.moment, key=self.key if key is None else key)

    def advance(self, step: Step, proposal: Proposal) -> Population:
        """The particles after a step drawn from a proposal."""
        state = proposal.kernel.sample(Draw(self.setup.random, step.key, "move"))
        slots, ratio = self.slots, self.log_ratio
        if proposal.memory is not None:
            slots = {**slots, self.setup.sampler: proposal.memory}
        if ratio is not None:
            ratio = ratio + proposal.log_ratio(state)
        return altered(self, state=state, moment=step.end, key=step.key, slots=slots, log_ratio=ratio)

    def noised(self, step: Step) -> Population:
        """The particles after the prior's own noising from step.t up to step.u; the sampler starts anew there."""
        kernel = self.setup.prior.process.noising(self.state, step.t, step.u)
        slots = {owner: memory for owner, memory in self.slots.items() if owner is not self.setup.sampler}
        new = self.at(kernel.sample(self.draw(step, "noising")), step.end, step.key)
        return altered(new, slots=slots)

    def recall(self, owner: Owner[Memory]) -> Memory:
        """The memory of a guidance, sampler or objective, a tree with B rows; `KeyError` where it has none."""
        return self.slots[owner]

    def remember(self, owner: Owner[Memory], memory: Memory) -> Population:
        """The population with another memory of a guidance or sampler."""
        return altered(self, slots={**self.slots, owner: memory})

    def reweigh(self, log_ratio: Tensor) -> Population:
        """The population with (B,) nats more in its log-ratio; the same one where nobody weighs."""
        return self if self.log_ratio is None else altered(self, log_ratio=self.log_ratio + log_ratio)

    def weighted(self, log_weights: Tensor, log_normalizer: Tensor | None = None) -> Population:
        """The population with other weights (P, K) and normalizer (P,), into which the log-ratio has gone."""
        normalizer = self.log_normalizer if log_normalizer is None else log_normalizer
        ratio = None if self.log_ratio is None else torch.zeros_like(self.log_ratio)
        return replace(self, log_weights=log_weights, log_normalizer=normalizer, log_ratio=ratio)

    def select(self, chosen: Tensor) -> Population:
        """Every group replaced by particles chosen from it; chosen (P, K') int64 in 0 .. K - 1."""
        first = torch.arange(self.groups, device=chosen.device)[:, None] * self.particles
        return self._mapped(partial(take, rows=(first + chosen).flatten()), self.log_weights.gather(1, chosen))

    def expand(self, times: int) -> Population:
        """Every particle `times` times in a row: P groups of K * times particles."""
        if times == 1:
            return self
        return self._mapped(partial(repeat, times=times), self.log_weights.repeat_interleave(times, 1))

    def _mapped(self, function: Callable[[Any], Any], log_weights: Tensor) -> Population:
        rows = (self.state, self.condition, self.log_ratio, self.roots, self.slots)
        state, condition, ratio, roots, slots = (function(each) for each in rows)
        answer = self.answer
        if answer is not None:
            asked = state if answer.state is self.state else function(answer.state)
            answer = Answer(asked, answer.moment, function(answer.prediction))
        changes = {"state": state, "condition": condition, "log_ratio": ratio, "roots": roots, "slots": slots}
        return replace(self, particles=log_weights.shape[1], log_weights=log_weights, answer=answer, **changes)
