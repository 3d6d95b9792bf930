"""The engine of the classifier-free and weak-model family: branches, a rule, a weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import compress

from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move
from guidekit.core.owner import Memory
from guidekit.core.population import Population
from guidekit.core.prediction import Branches, Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question, jointly
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, batch, map_leaves, put, take
from guidekit.core.step import Step
from guidekit.guidance.contrast.branches import Branch
from guidekit.guidance.contrast.rule import LINEAR, Answers, Rule, recalled
from guidekit.guidance.contrast.schedules import Number, Scheduled, Schedules, Weight, everywhere, scheduled
from guidekit.guidance.estimate.rescale import check_share

INSIDE = "write chain({outside}, {name})"


class Remembering(Guidance[Memory]):
    """A guidance that notes on its predictions what it wants to recall, as `rule.recalled`, in the next step."""

    layer = Layer.CONTRAST

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`: what was noted is kept; where nothing was, what was kept before stays."""
        note = population.predict().notes.get(self)
        moved = inner(population, step)
        return moved if note is None else moved.remember(self, note)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """What belongs to a sample may not be asked about several branches of it."""
        innermost(self, members)


def innermost(
    guidance: Guidance,
    members: Sequence[Guidance],
    what: str = "keeps or draws something for every sample, and",
    remedy: str = INSIDE,
) -> None:
    """Raise `GuidanceError` where another contrast, which asks about several branches of a sample, lies outside."""
    outside = [each.name for each in members[members.index(guidance) + 1 :] if each.layer is Layer.CONTRAST]
    if outside:
        raise GuidanceError(
            f"{guidance.name} {what} {outside[0]} would ask about several branches of one: "
            f"{remedy.format(name=guidance.name, outside=outside[0])}"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Contrast(Guidance[Memory]):
    """D = rule(D_base, D, others; w): all branches of a step from one joined network call per prior.

    At w = 1 the question alone is asked where the rule says so, and at w = 0 with the linear rule the base alone; with
    weights by row the base is asked for those whose weight is not 1. Who wants both branches outside gets them.

    Args:
        branches: what is asked beside the question itself, the base first.
        rule: how the answers are combined.
        weight: w, dimensionless; a number, or what turns a question into one.
        name: for messages, and for the keys of random numbers: several often stand in one chain.
        own: how the question itself is asked where it is not alone.
    """

    branches: tuple[Branch, ...]
    rule: Rule = LINEAR
    weight: float | Scheduled = 2.0
    name: str = "Contrast"
    own: Branch = Branch()
    layer = Layer.CONTRAST

    def __repr__(self) -> str:
        return super().__repr__() if self.preset is not None else f"{self.name}(weight={self.weight!r})"

    @property
    def stream(self) -> str:
        """See `Guidance.stream`."""
        return self.name

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Of the branches and the rule."""
        return self.rule.requires.union(*(branch.requires for branch in self.branches))

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """Two branches, where the first one is an answer to the same question."""
        return frozenset({Fact.BRANCHES} if self.branches and self.rule.neutral != 0 else ())

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        """True for a constant weight and branches and a rule that neither look at the time nor back, nor draw."""
        others = [branch.prior for branch in self.branches if branch.prior is not None]
        drawn = any(branch.draws for branch in self.branches)
        steady = self.rule.timeless and not self.rule.remembers and not callable(self.weight)
        return steady and not drawn and all(prior.timeless for prior in others)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Branches must exist; what belongs to a sample may not be asked about several branches of it."""
        if self.rule.remembers or any(branch.draws for branch in self.branches):
            alone = any(branch.alone(prior) for branch in self.branches)
            innermost(self, members, remedy="give {name} a weight in place of {outside}" if alone else INSIDE)
        inside = [each.name for each in members[: members.index(self)] if each.layer is Layer.CONTRAST]
        for branch in (self.own, *self.branches):
            reason = branch.alone(prior)
            if inside and reason is not None:
                raise GuidanceError(f"{self.name} {reason.format(name=self.name, inside=inside[0])}")
            branch.check(self.name, prior)
        if self.rule.check is not None:
            self.rule.check(self.name, prior)

    def caution(self, steps: int) -> str:
        """That of the rule."""
        told = "" if self.rule.caution is None else self.rule.caution(steps)
        return f"{self.name}: {told}" if told else ""

    def start(self, population: Population) -> Population:
        """See `Guidance.start`; a second prior must take the condition that was given."""
        for branch in self.branches:
            if population.condition is not None and branch.prior is not None and branch.prior.null_condition is None:
                raise GuidanceError(f"{self.name}: a condition was given, and {branch.prior.name} takes none")
        return population

    def weight_of(self, question: Question) -> Number:
        """The weight, a number or (B,)."""
        return self.weight(question) if callable(self.weight) else self.weight

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        weight, rule, rows = self.weight_of(question), self.rule, None
        needed = None if rule.asks is None else rule.asks(weight, question)
        if Fact.BRANCHES not in question.population.setup.wanted:
            if everywhere(weight, rule.neutral) or (needed is not None and not any(needed)):
                return inner(question)
            if rule.linear and everywhere(weight, 0):
                return inner(self.branches[0](question, self))
            if isinstance(weight, Tensor) and bool((weight == rule.neutral).any()):
                rows = (weight != rule.neutral).nonzero()[:, 0]
        elif needed is not None:
            needed = (True, *needed[1:])
        asked = question if rows is None else question.take(rows)
        branches = self.branches if needed is None else list(compress(self.branches, needed))
        *found, own = jointly(inner, [*(branch(asked, self) for branch in branches), self.own(question, self)])
        own, others = at_time(own, question), iter(found)
        answers = found if needed is None else [next(others) if need else None for need in needed]
        if rows is None:
            return rule.combine(Answers(own, answers, question, self), weight)
        guided = rule.combine(Answers(take(own, rows), answers, asked, self), take(weight, rows))
        return spliced(own, rows, guided, question, self)


@dataclasses.dataclass(frozen=True, eq=False)
class RememberingContrast(Remembering[Memory], Contrast[Memory]):
    """A contrast whose rule keeps something of every row."""

    check = Contrast.check


def at_time(prediction: Prediction, question: Question) -> Prediction:
    """A prediction for rows that were asked beside others of other times, as one of their own common time."""
    if isinstance(question.t, Tensor) or not isinstance(getattr(prediction, "a", None), Tensor):
        return prediction
    a, s = question.process.coefficients(question.t)
    return altered(prediction, a=a, s=s)


def spliced(own: Prediction, rows: Tensor, guided: Prediction, question: Question, owner: Guidance) -> Prediction:
    """The guided prediction in some rows (N,), own in the others, with branches for all; what is kept there stays."""
    plain, branches = own.plain(), guided.branches
    whole = put(plain, rows, guided.plain())
    if branches is not None:
        weight = branches.weight
        if isinstance(weight, Tensor):
            weight = weight.new_ones(batch(question.x)).index_copy(0, rows, weight)
        whole = altered(whole, branches=Branches(put(plain, rows, branches.null), plain, weight))
    kept = {key: value for key, value in own.notes.items() if key in guided.notes}
    whole, note = altered(whole, notes=kept), guided.notes.get(owner)
    if note is None:
        return whole
    before = recalled(question, owner)
    if before is None:
        before = map_leaves(lambda leaf: leaf.new_zeros(batch(question.x), *leaf.shape[1:]), note)
    return whole.noting(owner, put(before, rows, note))


def contrast(
    name: str,
    branches: tuple[Branch, ...],
    rule: Rule,
    weight: Weight,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """A contrast from settings as users write them: what presets are made with.

    Args:
        name, branches, rule: see `Contrast`.
        weight: a number, or a function of t (number or (B,)).
        schedule: when the weight holds: None is always, two numbers are an interval (low, high] of noise levels s / a
            (for tokens the share that is lost), or one of `guidekit.guidance.contrast.schedules`.
        rescale: share in [0, 1] of the excess standard deviation that is taken back, in v space.

    Raises:
        ValueError: a weight that is no finite number, a share outside its range.
    """
    check_share(name, rescale)
    kind = RememberingContrast if rule.remembers else Contrast
    return kind(branches, rule.rescaled(rescale), scheduled(name, weight, schedule, rule.neutral), name)
