"""How the answers to a contrast's branches are combined: frozen objects, most of them made of one formula."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.prediction import Branches, Prediction, Space
from guidekit.core.prior import Prior
from guidekit.core.question import Question
from guidekit.core.requirements import Fact
from guidekit.core.state import altered, column
from guidekit.guidance.contrast import rules
from guidekit.guidance.contrast.schedules import Number
from guidekit.guidance.estimate.rescale import rescaled

Formula = Callable[..., Tensor]
"""(support, w, base, own, *others) -> what is meant, all of them (B, *S) in a space but w, which broadcasts."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a rule combines.

    Args:
        own: the answer to the question itself.
        others: those to the branches in order, the base first.
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


def recalled(question: Question, owner: Guidance) -> Any:
    """What a guidance has kept of the rows that are asked about; None where there is nothing yet."""
    return question.recall(owner) if owner in question.population.slots else None


class Rule:
    """Base of the rules; own is the answer to the question itself, base that to the first branch."""

    space: Space = "clean"
    neutral: bool = True
    """Whether weight 1 is the answer to the question itself."""
    linear: ClassVar[bool] = False
    """Whether it is base + w (own - base), so that weight 0 is the base."""
    remembers: bool = False
    """Whether it keeps something of every row from step to step: it notes that for the owner, see `Remembering`."""
    timeless: bool = True
    """Whether it does without the time."""
    requires: frozenset[Fact] = frozenset()

    def asks(self, weight: Number, question: Question) -> Sequence[bool] | None:
        """Which branches are needed; None is all. The answers to others are None."""
        return None

    def combine(self, answers: Answers, weight: Number) -> Prediction:
        """The guided prediction; weight a number or (B,)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement combine(answers, weight)")

    def check(self, name: str, prior: Prior) -> None:
        """Raise `GuidanceError` where it cannot work on states of a prior."""
        real = Fact.REAL in prior.provides
        if self.space == "flow" and real and not hasattr(prior.process, "flow_space"):
            raise GuidanceError(f"{name} needs a process with a probability flow; this prior ({prior.name}) has none")


@dataclasses.dataclass(frozen=True)
class Linear(Rule):
    """base + w (own - base), the same in every space."""

    linear = True

    def combine(self, answers: Answers, weight: Number) -> Prediction:
        """See `Rule.combine`."""
        return answers.base.lerp(answers.own, weight)


LINEAR = Linear()


@dataclasses.dataclass(frozen=True)
class Formal(Rule):
    """A formula.

    Args:
        formula: (support, w, base, own, *others) -> (B, *S), part by part.
        space: it acts in.
        neutral: whether w = 1 gives own.
        requires: facts.
    """

    formula: Formula
    space: Space = "clean"
    neutral: bool = True
    requires: frozenset[Fact] = frozenset()

    def combine(self, answers: Answers, weight: Number) -> Prediction:
        """See `Rule.combine`."""
        return answers.mapped(self.formula, weight, self.space)


@dataclasses.dataclass(frozen=True)
class Rescaled(Rule):
    """Another rule, and part of the excess standard deviation taken back, see `rescaled`."""

    rule: Rule
    share: float

    @property
    def space(self) -> Space:  # type: ignore[override]
        """Of the rule."""
        return self.rule.space

    @property
    def neutral(self) -> bool:  # type: ignore[override]
        """As the rule."""
        return self.rule.neutral

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """As the rule."""
        return self.rule.remembers

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        """As the rule."""
        return self.rule.timeless

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Of the rule."""
        return self.rule.requires

    def asks(self, weight: Number, question: Question) -> Sequence[bool] | None:
        """See `Rule.asks`."""
        return self.rule.asks(weight, question)

    def combine(self, answers: Answers, weight: Number) -> Prediction:
        """See `Rule.combine`."""
        return rescaled(self.rule.combine(answers, weight), answers.own, self.share)

    def check(self, name: str, prior: Prior) -> None:
        """See `Rule.check`."""
        self.rule.check(name, prior)


@dataclasses.dataclass(frozen=True)
class Projected(Rule):
    """See `rules.projected`; the step has momentum: step + momentum * (the step used before).

    The steps are kept, one tensor a part.
    """

    parallel: float = 0.0
    momentum: float = 0.0
    cap: float | None = None

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """The steps used before."""
        return self.momentum != 0

    def combine(self, answers: Answers, weight: Number) -> Prediction:
        """See `Rule.combine`."""
        before = iter((answers.recall() or ()) if self.momentum else ())
        steps = []

        def act(support: Any, w: Number, base: Tensor, own: Tensor) -> Tensor:
            step, last = own - base, next(before, None)
            if last is not None:
                step = step + self.momentum * last.to(step)
            steps.append(step)
            return rules.projected(support, step, own, w, self.parallel, self.cap)

        guided = answers.mapped(act, weight)
        return guided.noting(answers.owner, tuple(steps)) if self.momentum else guided


__all__ = ["LINEAR", "Answers", "Formal", "Formula", "Linear", "Projected", "Rescaled", "Rule", "recalled"]
