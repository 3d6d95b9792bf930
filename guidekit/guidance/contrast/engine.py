"""The engine of the classifier-free and weak-model family: branches, a rule, a schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.core.run import Run
from guidekit.core.state import State, batch, put, where
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, Branch, Given, as_row, check_prior, evaluate
from guidekit.guidance.contrast.linear import contrast
from guidekit.guidance.contrast.rules import Context, Linear, Rule, rescaled
from guidekit.guidance.contrast.schedules import Schedule, check_schedule, weight_at
from guidekit.guidance.contrast.spaces import combine
from guidekit.processes import DiscreteProcess

LINEAR = Linear()


class Contrast(Guidance):
    """D = rule(D_base, D_positive, others; w): all branches of a step from one joined network call per prior.

    A method says which branches it asks (`branches`: base, positive, then others; the positive one is what the prior
    says by itself) and how they are combined (`rule`). At w = 1 only the positive branch is evaluated, at w = 0 and
    with the linear rule only the base.
    """

    weight: float | Callable[[Time], Time] = 2.0
    """w, dimensionless: a number, or a function of t (number or (B,))."""

    schedule: Schedule | Sequence[float] | None = None
    """When the weight holds, see `schedules`; two numbers are an `Interval` of noise levels."""

    rescale: float = 0.0
    """Share of the excess standard deviation that is taken back after the rule, in [0, 1]; see `rules.rescaled`."""

    contrasts = True
    needs_condition = True
    """Whether a condition must be given, and the prior know its absence."""
    tokens = True
    """Whether the method has a meaning on tokens."""
    per_sample = False
    """Whether a row must be a sample of the run (what it draws or remembers belongs to one)."""

    def branches(self, run: Run) -> Sequence[Branch]:
        """Base, positive and other branches."""
        return (UNCONDITIONAL, CONDITIONAL)

    def rule(self, run: Run) -> Rule:
        """How they are combined."""
        return LINEAR

    @property
    def timeless(self) -> bool:
        """True for a constant weight and a rule that does not look at the time or back."""
        return not callable(self.weight) and self.schedule is None and not self.per_sample

    def check(self, run: Run) -> None:
        """Both branches must exist; what belongs to a sample may not be asked about several branches of it."""
        name, prior = type(self).__name__, run.prior
        if not self.tokens and isinstance(prior.process, DiscreteProcess):
            raise GuidanceError(f"{name} has no meaning for tokens, which this prior ({prior.name}) is of: use CFG")
        if self.needs_condition and prior.null_condition is None:
            raise GuidanceError(f"{name} needs a conditional prior, and this one ({prior.name}) takes no condition")
        if self.needs_condition and run.condition is None:
            raise GuidanceError(f"{name} needs a condition to guide towards: give condition=")
        outside = [type(plug).__name__ for plug in run.plugs[run.position(self) + 1 :] if plug.contrasts]
        if outside and self.per_sample:
            raise GuidanceError(
                f"{name} keeps or draws something for every sample, and {outside[0]} would ask it about several "
                f"branches of one: write chain({outside[0]}, {name})"
            )
        check_schedule(name, self.schedule)
        for branch in self.branches(run):
            if isinstance(branch.condition, Given):
                as_row(run, branch.condition.value)
            if branch.prior is not None:
                check_prior(name, run, branch.prior)

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        run, branches = inner.run, self.branches(inner.run)
        w, rule = self.weight_at(t, run), self.rule(inner.run)
        if rule.neutral and everywhere(w, 1):
            return evaluate(inner, x, t, condition, branches[1:2])[0]
        if rule.linear and everywhere(w, 0):
            return evaluate(inner, x, t, condition, branches[:1])[0]
        rows = None
        if rule.neutral and isinstance(w, Tensor) and w.ndim and (w == 1).any():
            rows = (w != 1).nonzero()[:, 0]  # the others are not evaluated where the weight is 1
        return self.guided(inner, x, t, condition, w, rows)

    def weight_at(self, t: Time, run: Run) -> Time:
        """The weight at t, a number or (B,)."""
        return weight_at(self.weight, self.schedule, t, run)

    def guided(
        self, inner: Denoiser, x: State, t: Time, condition: State | None, w: Time, rows: Tensor | None = None
    ) -> Prediction:
        """The rule applied to all branches; only to some rows (N,) where they are given, the rest is positive."""
        run, branches = inner.run, self.branches(inner.run)
        asked = [rows if i != 1 else None for i in range(len(branches))]
        views = evaluate(inner, x, t, condition, branches, asked)
        return self.combined(run, x, t, views, w, rows)

    def combined(
        self, run: Run, x: State, t: Time, views: Sequence[Prediction], w: Time, rows: Tensor | None = None
    ) -> Prediction:
        """The rule applied to predictions, those but the positive one of the given rows."""
        context = Context(run, x, t, f"{type(self).__name__} {run.position(self)}", views, rows)
        views, rule = framed(run, views, t, rows), self.rule(run)
        if isinstance(rule, Linear):
            guided = contrast(views[0], views[1], w)
        else:
            guided = combine(rule.space, run.prior.process, views, partial(rule, w=w, context=context))
        if self.rescale:
            parts = guided.parts
            back = partial(_rescaled, share=self.rescale)
            guided = dataclasses.replace(combine("v", run.prior.process, [guided, views[1]], back), parts=parts)
        if rows is None:
            return guided.with_parts(memory=context.new) if context.new else guided
        positive = bare(views[1])
        active = torch.zeros(batch(x), dtype=torch.bool, device=rows.device).index_fill(0, rows, True)
        new = {key: where(active, value, self._old(run, key, value)) for key, value in context.new.items()}
        chosen = where(active, bare(guided), positive)
        return dataclasses.replace(chosen, parts=guided.parts | ({"memory": new} if new else {}))

    @staticmethod
    def _old(run: Run, key: str, like: Tensor) -> Tensor:
        before = run.recall(key, len(like))
        return torch.zeros_like(like) if before is None else before


def _rescaled(views: Sequence[Tensor], share: float) -> Tensor:
    return rescaled(views[0], views[1], share)


def everywhere(w: Time, value: float) -> bool:
    """Whether a weight, a number or (B,), is that number for all samples."""
    return bool((w == value).all()) if isinstance(w, Tensor) else w == value


def bare(prediction: Prediction) -> Prediction:
    """A prediction without its parts."""
    return dataclasses.replace(prediction, parts={})


def framed(run: Run, views: Sequence[Prediction], t: Time, rows: Tensor | None) -> list[Prediction]:
    """All views as predictions of all samples at their own states and times; the second stands where others are not."""
    positive = views[1]
    if isinstance(positive, GaussianPrediction) and isinstance(positive.a, Tensor) and not isinstance(t, Tensor):
        positive = dataclasses.replace(run.prior.process.prediction(positive.mean, positive.x, t), parts=positive.parts)
    whole = []
    for i, view in enumerate(views):
        if i == 1:
            whole.append(positive)
        elif rows is not None:
            whole.append(_put(bare(positive), rows, view))
        elif isinstance(view, GaussianPrediction):
            whole.append(dataclasses.replace(positive, mean=view.mean, parts=view.parts))
        else:
            whole.append(view)
    return whole


def _put(positive: Prediction, rows: Tensor, view: Prediction) -> Prediction:
    if isinstance(view, GaussianPrediction):
        return dataclasses.replace(positive, mean=positive.mean.index_copy(0, rows, view.mean.to(positive.mean)))
    return put(positive, rows, bare(view))
