"""A question to a denoiser: all that it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from guidekit.core.objective import Objective
from guidekit.core.owner import Memory, Owner
from guidekit.core.prediction import Prediction
from guidekit.core.random import Draw
from guidekit.core.state import State, altered, batch, cat, leaves, take
from guidekit.core.step import Moment

if TYPE_CHECKING:
    from guidekit.core.population import Population
    from guidekit.core.prior import Prior


class Perturbation(Protocol):
    """What is done to a network for some rows of a call."""

    def answer(self, question: Question, prior: Prior) -> Prediction:
        """The answer of a prior to a question with marks, perturbed in the marked rows."""


@dataclass(frozen=True)
class Marks:
    """Which rows of a question are answered by a perturbed network.

    Args:
        plans: the perturbations.
        codes: (B',) int64, 0 for none, 1 + place in `plans` otherwise.
        seeds: (B',) int64, of the random numbers of a perturbation.
    """

    plans: tuple[Perturbation, ...]
    codes: Tensor
    seeds: Tensor


@dataclass(frozen=True)
class Question:
    """What is the clean state? Asked of a denoiser for rows of a population.

    Args:
        population: whose rows they are; schedules look at its moment, memory and draws are those of its rows.
        x: states (B', *S), not necessarily those of the population.
        t: time of x, a number or (B',).
        condition: tree with B' rows, or None.
        prior: whose network is to answer.
        rows: (B',) rows of the population; None is all in order.
        marks: see `Marks`; None where no row is perturbed.
    """

    population: Population
    x: State
    t: float | Tensor
    condition: Any
    prior: Prior
    rows: Tensor | None = None
    marks: Marks | None = None

    @property
    def moment(self) -> Moment:
        """Where schedules look, which is not t where a sampler asks ahead."""
        return self.population.moment

    @property
    def time(self) -> float | Tensor:
        """Time of the rows at which the step starts, a number or (B',): what schedules by noise level look at."""
        time = self.population.time
        return time if self.rows is None or not isinstance(time, Tensor) else time[self.rows]

    @property
    def process(self) -> Any:
        """Of the prior that is asked."""
        return self.prior.process

    def recall(self, owner: Owner[Memory]) -> Memory:
        """The memory of the rows that are asked about; `KeyError` where there is none."""
        memory = self.population.recall(owner)
        return memory if self.rows is None else take(memory, self.rows)

    def score(self, objective: Objective, prediction: Prediction) -> Tensor:
        """An objective of what is predicted for these rows, (B',); it keeps the graph of gradients."""
        rows = self.population.slots.get(objective)
        rows = rows if rows is None or self.rows is None else take(rows, self.rows)
        return objective.look(lambda on: self.population.setup.shown(prediction, on), self.t, rows)

    def draw(self, owner: Owner, purpose: str) -> Draw:
        """Numbers for all rows of the population, a function of the step that led to them."""
        population = self.population
        return Draw(population.setup.random, population.key, f"{population.setup.labels[owner]} {purpose}")

    def normal(self, owner: Owner, purpose: str, like: Tensor) -> Tensor:
        """Standard normal numbers of the rows that are asked about, like (B', *S)."""
        numbers = self.draw(owner, purpose).normal(like.new_empty(len(self.population), *like.shape[1:]))
        return numbers if self.rows is None else numbers[self.rows]

    def uniform(self, owner: Owner, purpose: str, *shape: int) -> Tensor:
        """Numbers uniform on [0, 1) of the rows that are asked about, (B', *shape) float64."""
        numbers = self.draw(owner, purpose).uniform(len(self.population), *shape)
        return numbers if self.rows is None else numbers[self.rows]

    def record(self, name: str, value: Tensor) -> None:
        """Keep a diagnostic (B', ...) of the rows that are asked about; those of others are NaN."""
        recorder, size = self.population.setup.recorder, len(self.population)
        if self.rows is not None:
            value = value.new_full((size, *value.shape[1:]), torch.nan).index_copy(0, self.rows, value)
        recorder.record(name, value)

    def of_nobody(self) -> Question:
        """The same question without its condition."""
        return altered(self, condition=self.prior.null(batch(self.x)))

    def take(self, rows: Tensor | slice) -> Question:
        """The question for some of its rows."""
        index = self.rows
        if index is None:
            index = torch.arange(batch(self.x), device=leaves(self.x)[0].device)
        t = self.t[rows] if isinstance(self.t, Tensor) and self.t.ndim else self.t
        marks = self.marks and altered(self.marks, codes=self.marks.codes[rows], seeds=self.marks.seeds[rows])
        return altered(
            self, x=take(self.x, rows), t=t, condition=take(self.condition, rows), rows=index[rows], marks=marks
        )


Denoise = Callable[[Question], Prediction]


def jointly(denoise: Denoise, questions: Sequence[Question]) -> list[Prediction]:
    """The answers to several questions, those of one prior and one kind of state from one call with all their rows."""
    if len(questions) == 1:
        return [denoise(questions[0])]
    answers: list[Prediction | None] = [None] * len(questions)
    for together in _alike(questions):
        sizes = [batch(questions[place].x) for place in together]
        found, end = denoise(joined([questions[place] for place in together], sizes)), 0
        for place, size in zip(together, sizes, strict=True):
            answers[place] = take(found, slice(end, end := end + size)) if len(together) > 1 else found
    return answers  # type: ignore[return-value]


def _alike(questions: Sequence[Question]) -> list[list[int]]:
    """Places of questions that can be joined: of one prior, about states of one shape."""
    found: list[tuple[tuple, list[int]]] = []
    for place, question in enumerate(questions):
        kind = (id(question.prior), [leaf.shape[1:] for leaf in leaves(question.x)], question.condition is None)
        for known, places in found:
            if known == kind:
                places.append(place)
                break
        else:
            found.append((kind, [place]))
    return [places for _, places in found]


def joined(questions: Sequence[Question], sizes: Sequence[int]) -> Question:
    """Several questions of one population and prior as one; sizes are their numbers of rows."""
    if len(questions) == 1:
        return questions[0]
    device = leaves(questions[0].x)[0].device
    rows = [torch.arange(n, device=device) if q.rows is None else q.rows for q, n in zip(questions, sizes, strict=True)]
    t = questions[0].t
    if any(isinstance(question.t, Tensor) for question in questions) or any(question.t != t for question in questions):
        kind = leaves(questions[0].x)[0].dtype
        kind = kind if kind.is_floating_point else torch.float64
        times = [torch.as_tensor(q.t, device=device, dtype=kind) for q in questions]
        t = torch.cat([time.expand(size) for time, size in zip(times, sizes, strict=True)])
    return altered(
        questions[0],
        x=cat([question.x for question in questions]),
        t=t,
        condition=cat([question.condition for question in questions]),
        rows=torch.cat(rows),
        marks=_marks([question.marks for question in questions], sizes, device),
    )


def _marks(given: Sequence[Marks | None], sizes: Sequence[int], device: torch.device) -> Marks | None:
    """The marks of joined questions."""
    if all(marks is None for marks in given):
        return None
    plans: list[Perturbation] = []
    codes, seeds = [], []
    for marks, size in zip(given, sizes, strict=True):
        none = torch.zeros(size, dtype=torch.int64, device=device)
        if marks is None:
            codes.append(none)
            seeds.append(none)
            continue
        places = [0]
        for plan in marks.plans:
            if plan not in plans:
                plans.append(plan)
            places.append(plans.index(plan) + 1)
        codes.append(torch.tensor(places, device=device)[marks.codes])
        seeds.append(marks.seeds)
    return Marks(tuple(plans), torch.cat(codes), torch.cat(seeds))
