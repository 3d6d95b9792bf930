"""How the answers to a contrast's branches are combined: a rule is data, most rules are one formula."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.prediction import Branches, Prediction, Space
from guidekit.core.prior import Prior
from guidekit.core.question import Question
from guidekit.core.requirements import Fact
from guidekit.core.state import altered, column
from guidekit.guidance.contrast.schedules import Number
from guidekit.guidance.estimate.rescale import rescaled

NEVER = math.nan
"""A number that no weight is."""

Formula = Callable[..., Tensor]
"""(support, w, base, own, *others) -> what is meant, all of them (B, *S) in a space but w, which broadcasts."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a rule combines.

    Args:
        own: the answer to the question itself.
        others: those to the branches in order, the base first; None where a rule does not ask for one.
        question: that was asked.
        owner: whose memory, notes and draws are meant.
    """

    own: Prediction
    others: Sequence[Any]
    question: Question
    owner: Guidance

    @property
    def base(self) -> Prediction:
        """The answer of the first branch."""
        return self.others[0]

    def recall(self) -> Any:
        """What the owner has kept of these rows, or None."""
        return recalled(self.question, self.owner)

    def mapped(self, formula: Formula, weight: Number, space: Space = "clean") -> Prediction:
        """The prediction that a formula means in a space; "flow" is the velocity of the process' probability flow."""
        if space == "flow":
            space = getattr(self.question.process, "flow_space", "clean")

        def act(support: Any, own: Tensor, *others: Tensor) -> Tensor:
            w = column(weight.to(own.dtype), own) if isinstance(weight, Tensor) else weight
            return formula(support, w, others[0], own, *others[1:])

        guided = self.own.map(act, *self.others, space=space)
        return altered(guided, branches=Branches(self.base.plain(), self.own.plain()))


@dataclasses.dataclass(frozen=True)
class Rule:
    """A way to combine answers.

    Args:
        combine: (answers, weight) -> the guided prediction; weight a number or (B,).
        neutral: the weight at which the answer to the question itself stands; `NEVER` where it does at none.
        linear: whether it is base + w (own - base), so that weight 0 is the base.
        remembers: whether it notes something of every row for its owner, to be recalled in the next step.
        timeless: whether it does without the time.
        requires: facts.
        asks: (weight, question) -> which branches are needed; None is all.
        check: (name, prior) -> raises `GuidanceError` where it cannot work on states of a prior.
        caution: steps of a run -> what to expect of it, see `Guidance.caution`.
    """

    combine: Callable[[Answers, Number], Prediction]
    neutral: float = 1.0
    linear: bool = False
    remembers: bool = False
    timeless: bool = True
    requires: frozenset[Fact] = frozenset()
    asks: Callable[[Number, Question], Sequence[bool]] | None = None
    check: Callable[[str, Prior], None] | None = None
    caution: Callable[[int], str] | None = None

    def rescaled(self, share: float) -> Rule:
        """The rule with a share of the excess spread over the own answer taken back, see `rescaled`."""
        if share == 0:
            return self

        def combine(answers: Answers, weight: Number) -> Prediction:
            return rescaled(self.combine(answers, weight), answers.own, share)

        return dataclasses.replace(self, combine=combine, linear=False)


LINEAR = Rule(lambda answers, weight: answers.base.lerp(answers.own, weight), linear=True)
"""base + w (own - base), the same in every space."""


def formal(
    formula: Formula, space: Space = "clean", neutral: float = 1.0, requires: frozenset[Fact] = frozenset()
) -> Rule:
    """The rule of a formula (support, w, base, own, *others) -> (B, *S), part by part, in a space; see `Rule`."""

    def flows(name: str, prior: Prior) -> None:
        if Fact.REAL in prior.provides and not hasattr(prior.process, "flow_space"):
            raise GuidanceError(f"{name} needs a process with a probability flow; this prior ({prior.name}) has none")

    def combine(answers: Answers, weight: Number) -> Prediction:
        return answers.mapped(formula, weight, space)

    return Rule(combine, neutral, requires=requires, check=flows if space == "flow" else None)


def one_kind(name: str, prior: Prior) -> None:
    """Raise `GuidanceError` where states have several parts."""
    if Fact.PARTS in prior.provides:
        raise GuidanceError(f"{name} works on one kind of state, and those of {prior.name} have several parts")


def recalled(question: Question, owner: Guidance) -> Any:
    """What a guidance has kept of the rows that are asked about; None where there is nothing yet."""
    return question.recall(owner) if owner in question.population.slots else None
