"""Branches: what a contrast asks beside the question itself, as functions of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.prior import Prior
from guidekit.core.question import Question
from guidekit.core.requirements import Fact
from guidekit.core.state import State, altered, batch, leaves, map_leaves

CONDITIONS = frozenset({Fact.CONDITIONAL, Fact.CONDITION})


@dataclasses.dataclass(frozen=True)
class Branch:
    """A question made of another; this one asks the same of another prior, or of the same one.

    Args:
        prior: of the same process and states; None is the prior that is asked.
    """

    prior: Prior | None = dataclasses.field(default=None, kw_only=True)
    requires: ClassVar[frozenset[Fact]] = frozenset()
    draws: ClassVar[bool] = False
    """Whether it draws numbers for every row."""

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """What is asked, for the rows of the question; draws are those of the owner."""
        return question if self.prior is None else altered(question, prior=self.prior)

    def alone(self, prior: Prior) -> str | None:
        """Why no contrast may lie inside, as the end of "<name> ... cannot wrap {inside}: ..."; None where one may."""
        return None

    def check(self, name: str, prior: Prior) -> None:
        """Raise `GuidanceError` where it cannot be asked of a prior."""
        if self.prior is not None:
            check_prior(name, prior, self.prior)


@dataclasses.dataclass(frozen=True)
class Null(Branch):
    """Without condition, in the way the network was trained to have none."""

    requires = CONDITIONS

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """See `Branch`."""
        return super().__call__(question, owner).of_nobody()


@dataclasses.dataclass(frozen=True)
class Given(Branch):
    """Under one fixed condition.

    Args:
        value: a row without the batch, or what `Prior.condition` takes.
    """

    value: Any
    requires = CONDITIONS

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """See `Branch`."""
        question = super().__call__(question, owner)
        rows, device = batch(question.x), leaves(question.x)[0].device
        row = condition_row(question.prior, self.value)
        return altered(question, condition=map_leaves(lambda leaf: leaf.to(device).expand(rows, *leaf.shape[1:]), row))

    def check(self, name: str, prior: Prior) -> None:
        """See `Branch.check`; the prior must know the condition."""
        super().check(name, prior)
        known_rows(name, prior, [self.value])


@dataclasses.dataclass(frozen=True)
class Drawn(Branch):
    """Under a condition drawn anew for every row and step, independent of the row's own.

    Args:
        values: what to draw from, each what `Prior.condition` takes; None is all that the prior knows, the parts of a
            condition independently.
        weights: of the values; None is equal.
    """

    values: Sequence[Any] | None = None
    weights: Sequence[float] | None = None
    requires = CONDITIONS
    draws = True

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """See `Branch`."""
        question = super().__call__(question, owner)
        return altered(question, condition=self.conditions(question, owner))

    def conditions(self, question: Question, owner: Guidance) -> State:
        """One condition a row."""
        prior = question.prior
        if self.values is None:
            u = question.uniform(owner, "condition", len(prior.choices))
            numbers = [located(u[:, k].contiguous(), weights) for k, weights in enumerate(prior.choices)]
            return torch.stack(numbers, 1) if leaves(prior.null_condition)[0].ndim else numbers[0]
        weights = torch.ones(len(self.values)) if self.weights is None else torch.tensor(self.weights)
        u = question.uniform(owner, "condition")
        return torch.cat([condition_row(prior, value) for value in self.values]).to(u.device)[located(u, weights)]

    def check(self, name: str, prior: Prior) -> None:
        """See `Branch.check`; there must be something to draw from."""
        super().check(name, prior)
        if self.values is not None:
            known_rows(name, prior, self.values)
        elif not prior.choices:
            raise GuidanceError(f"{name} does not know the conditions of this prior ({prior.name}): give conditions=")


@dataclasses.dataclass(frozen=True)
class Changed(Branch):
    """Any function of a question.

    Args:
        function: (question, owner) -> question, of the same rows.
        random: whether it draws.
    """

    function: Callable[[Question, Guidance], Question]
    random: bool = False

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """As given."""
        return self.random

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """See `Branch`."""
        return self.function(super().__call__(question, owner), owner)


NULL = Null()


def base(negative: Any = None) -> tuple[Branch]:
    """The branch to move away from: under a negative condition, or without one."""
    return (NULL if negative is None else Given(negative),)


def located(u: Tensor, weights: Tensor) -> Tensor:
    """Numbers (B,) of choices with weights (C,), from uniform ones u (B,)."""
    edges = weights.to(u).cumsum(0)
    return torch.searchsorted(edges / edges[-1], u, right=True).clamp_max(len(edges) - 1)


def condition_row(prior: Prior, value: Any) -> State:
    """A condition as users write it, as a tree with one row.

    Raises:
        ValueError: no such condition of the prior, or several.
    """
    plain = isinstance(value, int | float | list | tuple) and not getattr(prior, "labels", ())
    row = prior.condition(torch.tensor(value) if plain else value)
    if not leaves(row):
        raise ValueError(f"this prior ({prior.name}) knows no conditions by name, got {value!r}: give numbers")
    null: Any = prior.null_condition
    row = map_leaves(lambda leaf, none: leaf[None] if leaf.ndim == none.ndim else leaf, row, null)
    if batch(row) != 1:
        raise ValueError(f"one condition is needed, got {batch(row)}: {value!r}")
    return row


def known_rows(name: str, prior: Prior, values: Sequence[Any]) -> list[State]:
    """The rows of conditions, or a `GuidanceError` that says which is none."""
    try:
        return [condition_row(prior, value) for value in values]
    except ValueError as error:
        raise GuidanceError(f"{name}: {error}") from error


def check_prior(name: str, prior: Prior, other: Any) -> None:
    """Raise `GuidanceError` unless another prior has the process and the states of the run's own."""
    if not hasattr(other, "process") or not hasattr(other, "predict"):
        raise GuidanceError(f"{name} needs a second prior beside this one ({prior.name}), and was given {other!r}")
    if other.event_shape != prior.event_shape or not _same_process(other.process, prior.process):
        raise GuidanceError(
            f"{name} contrasts this prior ({prior.name}) with {other.name}, and their states or processes differ"
        )


def _same_process(a: object, b: object) -> bool:
    return type(a) is type(b) and _settings(a) == _settings(b)


def _settings(process: object) -> Mapping[str, str]:
    """Names and values of a process' settings, tensors by their numbers; not what it has worked out and keeps."""
    fields = (
        [field.name for field in dataclasses.fields(process)] if dataclasses.is_dataclass(process) else vars(process)
    )
    return {name: repr(getattr(process, name)) for name in sorted(fields)}
