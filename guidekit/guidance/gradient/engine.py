"""The engine of gradient guidance: what is climbed, where its gradient acts, and how long a step is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Propose
from guidekit.core.network import differentiable, noted, slopes
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prediction import CategoricalPrediction, GaussianPrediction, Prediction
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise, Question
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, batch, cat, column, leaves, map_leaves, take
from guidekit.core.step import Step
from guidekit.errors import UnknownNameError
from guidekit.guidance.gradient.ascent import Ascent, ascend
from guidekit.guidance.gradient.losses import check_bearable
from guidekit.guidance.gradient.places import clean_slopes, displaced, each
from guidekit.guidance.gradient.probes import Differences, Probes, estimated
from guidekit.guidance.gradient.rules import RULES, Rule, Spot, rule_of
from guidekit.guidance.gradient.smoothing import Smoothing, smoothed
from guidekit.guidance.gradient.strength import Strength, checked, strength_of
from guidekit.guidance.gradient.tokens import tilted
from guidekit.objectives.reward import objective_of
from guidekit.registry import register

ALWAYS = (1.0, 0.0)
REST = 16
"""Steps between looks for numbers that are none, on devices that a look would make wait."""


SOURCES = ("through", "frozen", "noisy")
"""Where the gradient is taken.

through: at x_t, through the network: grad_{x_t} f(E[x_0 | x_t]).
frozen: at the clean estimate, times a / (a^2 + s^2), the Jacobian of a denoiser of data with unit variance, which tends
    to 1 / a without noise, as of any other: no backward pass through the network.
noisy: of a value f(x_t, t) of noisy states, at x_t.
"""

PLACES = ("after", "score")
"""Where it acts: added to x_u after the step, or to the score, which moves the clean estimate by s^2 / a of it."""

Note = tuple[float, Any, Any]
"""Scale of the gradient, gradient, and by how much the clean estimate was moved; trees like the state, or None."""


@register("guidance", "gradient")
@dataclasses.dataclass(frozen=True, eq=False)
class GradientGuidance(Guidance[Any]):
    """x_u = step(x_t) + scale * grad_{x_t} objective(E[x_0 | x_t]); one network call and one backward pass a step.

    The engine of the family: the other fields say where the gradient is taken and acts, and what else moves. The
    gradient is taken per sample (the objective gives one number a row), so a sample does not depend on its batch. In
    states of several parts the real ones move. Where states are tokens, an objective with `relaxed` tilts the law of
    every token. Where particles are weighed the kernel is tilted instead, its mean moved by variance * gradient: any
    move would be made up for by the weights, but those of a displacement that is large beside the noise of the step are
    useless. A network call of more rows than its limit is differentiated piece by piece, and only one piece is held.

    Args:
        objective: of clean states, to be increased; differentiable.
        scale: displacement per unit of gradient: a number, a function of t or an `Averaged`; where it is 0 no gradient
            is taken and no graph is built. A likelihood as it is, in nats, needs one of about noise^2 / |A|^2, and more
            than 64 times that is refused.
        twist: objective in nats that tilts kernels where particles are weighed; None is scale * objective.
        every: a gradient is taken in every so many steps.
        window: (from, to) times within which it is.
        reuse: steps between, within the window, use the last gradient once more.
        source: where the gradient is taken, one of `SOURCES`.
        place: where it acts, one of `PLACES`.
        rule: factor of the scale by sample, a name of `RULES` or a function of a `Spot`; None is 1.
        ascent: how the clean estimate is moved on top; None is not.
        smoothing: of the objective; None is none.
        estimator: of the gradient at clean estimates, for objectives without one; None differentiates.
        title: its name in messages while no preset has given it one; empty is that of the class.

    Raises:
        ValueError: settings outside their range.
        ExplodedError: in a run, a gradient that is no finite number.

    Source: the update of Chung et al. 2022, arXiv:2209.14687, for any objective; the design space is that of Ye et al.
    2024, arXiv:2409.15761 (TFG).
    """

    objective: Objective
    scale: Strength = 1.0
    twist: Objective | None = None
    every: int = 1
    window: tuple[float, float] = ALWAYS
    reuse: bool = False
    source: str = "through"
    place: str = "after"
    rule: str | Rule | None = None
    ascent: Ascent | None = None
    smoothing: Smoothing | None = None
    estimator: Differences | None = None
    title: str = ""
    layer = Layer.GRADIENT
    shifts = True

    def __post_init__(self) -> None:
        """Take functions for objectives; refuse settings outside their range."""
        object.__setattr__(self, "objective", objective_of(self.objective, self.name, "an objective"))
        object.__setattr__(self, "scale", checked("scale", self.scale))
        object.__setattr__(self, "window", tuple(self.window))
        object.__setattr__(self, "rule", rule_of(self.rule))
        for name, known in (("source", SOURCES), ("place", PLACES)):
            if getattr(self, name) not in known:
                raise UnknownNameError(f"{name} of a gradient", str(getattr(self, name)), known)
        if self.estimator is not None and (self.smoothing is not None or self.source == "noisy"):
            raise ValueError("an estimated gradient is smoothed, and that of clean estimates: leave out smoothing")
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")
        if len(self.window) != 2 or not 1 >= self.window[0] >= self.window[1] >= 0:
            raise ValueError(f"window must be two times from noise (1) to clean (0), got {list(self.window)}")

    @property
    def name(self) -> str:
        """That of the preset; while it is being made, its title."""
        return super().name if self.preset is not None else self.title or super().name

    def caution(self, steps: int) -> str:
        """See `Guidance.caution`: steps of a residual that are longer than twice the residual overshoot."""
        residual = self.rule is RULES["exploding"] and self.twist is not None
        if not residual or not isinstance(self.scale, int | float) or self.scale <= 2:
            return ""
        return f"{self.name}: scale={self.scale:g} overshoots a measurement and may blow up; take at most 2 (usual: 1)"

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """A gradient, and real states unless the objective has a gradient in the laws of tokens."""
        if self.estimator is not None:
            return frozenset({Fact.FLOW})
        facts = {Fact.GRADIENT} if hasattr(self.objective, "relaxed") else {Fact.GRADIENT, Fact.FLOW}
        return frozenset(facts | {Fact.WHOLE} if self.source == "noisy" else facts)

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return (self.objective,) if self.twist is None else (self.objective, self.twist)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """What looks at clean states must have them, and tokens have neither lengths nor noise to be moved by.

        Steps in nats must suit the noise of the measurement.
        """
        looks_at = self.objective.on
        if self.source != "noisy" and looks_at != "clean" and (self.ascent or self.source == "frozen"):
            raise GuidanceError(f"{self.name} moves clean estimates; {self.objective.name} looks at {looks_at} ones")
        if self.source == "noisy" and looks_at != "noisy":
            raise GuidanceError(f"{self.name} needs a value of noisy states; {self.objective.name} looks at {looks_at}")
        weighed = any(Fact.WEIGHTS in member.provides for member in members)
        if Fact.FLOW in prior.provides:
            rates = (self.scale, 0.0 if self.ascent is None else self.ascent.rate)
            told = [rate for rate in rates if isinstance(rate, float)]
            if Fact.WHOLE in prior.provides and not weighed and self.source != "noisy":
                check_bearable(self, self.objective, prior, max(told, key=abs, default=0.0))
            return
        if looks_at != "clean" or self.rule or self.smoothing:
            raise GuidanceError(
                f"{self.name} measures its steps by the noise of real-valued states, and tokens of this prior "
                f"({prior.name}) have none: use guidance=gradient, guidance=universal or guidance=dcbg"
            )
        if weighed:
            raise GuidanceError(
                f"{self.name} tilts what is believed of tokens, which no weight makes up for: use DCBG inside a filter"
            )

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`: what is to be moved after the step is noted, for `propose`."""
        setup, x, scale = question.population.setup, question.x, self.scale
        objective, ascent = self.objective, self.ascent
        if setup.weighted:
            ascent = None
            if self.twist is not None:
                objective, scale = self.twist, 1.0
        if type(scale) is not float:
            scale = strength_of(scale, setup, question.moment)
        if isinstance(x, Tensor) and not x.is_floating_point():
            return self._tokens(inner, question, scale)
        rate = 0.0 if ascent is None else strength_of(ascent.rate, setup, question.moment)
        if scale == 0 and rate == 0:
            return inner(question)
        if self.every > 1 or self.window is not ALWAYS:
            if not self.window[0] >= question.moment.t >= self.window[1]:
                return inner(question)
            if question.moment.index % self.every:
                known: Any = question.population.answer
                if not self.reuse:
                    return inner(question)
                if known is not None and self in known.prediction.notes:
                    note: Any = known.prediction.note(self)
                    note = (scale, *(note if question.rows is None else take(note, question.rows))[1:])
                    return self._settled(inner(question), note, setup.weighted)
        through = scale != 0 and self.source == "through"
        if through and setup.network.limit is not None and batch(x) > setup.network.limit:
            return self._in_pieces(inner, question, setup.network.limit)
        nested = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves(x))
        gradient = delta = None
        if through:
            with torch.enable_grad():
                at = x if nested else map_leaves(differentiable, x)
                prediction = inner(altered(question, x=at))
                score = self._score(question, objective, prediction)
                gradient = setup.network.slopes(score(prediction), at, create_graph=nested)
            if ascent is None and self.place == "after" and not nested:
                return prediction.settled(x, self, (scale, gradient, None))
            if not nested:
                prediction = prediction.settled(x, self, None)
        else:
            prediction = inner(question)
            score = self._score(question, objective, prediction)
            if scale != 0:
                gradient = self._beside(question, prediction, score)
        if ascent is not None and rate != 0:
            delta = ascend(ascent, rate, score, prediction)
        return self._settled(prediction, (scale, gradient, delta), setup.weighted)

    def _score(self, question: Question, objective: Objective, prediction: Prediction) -> Any:
        """Prediction -> scores (B,), whose gradient is the one to be followed."""
        if self.estimator is not None:
            return estimated(self.estimator, Probes(self, question, objective))
        score: Any = partial(question.score, objective)
        return score if self.smoothing is None else smoothed(score, self.smoothing.noises(self, question, prediction))

    def _beside(self, question: Question, prediction: Prediction, score: Any) -> Any:
        """The gradient of a source that does not look through the network."""
        if self.source == "frozen":
            found = clean_slopes(score, prediction)
            return each(_through_data_of_unit_size, prediction, found)
        question.population.setup.network.ledger.count(value_calls=batch(question.x))
        with torch.enable_grad():
            leaf = question.x.detach().requires_grad_()
            return slopes(score(altered(prediction, x=leaf)), leaf)

    def _settled(self, prediction: Prediction, note: Note, weighted: bool) -> Prediction:
        """The prediction with what acts on it done, and the note."""
        scale, gradient, delta = note
        if gradient is not None and self.place == "score" and not weighted:
            prediction = displaced(prediction, each(partial(self._plug, scale), prediction, gradient))
        if delta is not None and self.ascent is not None and not self.ascent.keeps_noise:
            prediction = displaced(prediction, delta)
        return prediction.noting(self, note)

    def _plug(self, scale: float, part: GaussianPrediction, gradient: Tensor) -> Tensor:
        """scale s^2 / a gradient, by which a score plug moves the clean estimate."""
        size: Any = scale * part.s * part.s / _least(part.a)
        rule: Any = self.rule  # a function, once it is made
        if rule is not None:
            size = size * rule(Spot(part, gradient, (1.0, 0.0), 1))  # type: ignore[operator]
        return column(size.to(gradient), gradient) * gradient if isinstance(size, Tensor) else size * gradient

    def _in_pieces(self, inner: Denoise, question: Question, limit: int) -> Prediction:
        """The same for pieces of a question, one after the other: the graph of one piece is held at a time."""
        rows = torch.arange(batch(question.x), device=leaves(question.x)[0].device).split(limit)
        return cat(noted([self.denoise(inner, question.take(piece)) for piece in rows]))

    def _tokens(self, inner: Denoise, question: Question, scale: float) -> Prediction:
        """Tokens: the law of every one is tilted, by the gradient of the relaxed objective at the predicted law."""
        prediction: Any = inner(question)
        off = not self.window[0] >= question.moment.t >= self.window[1] or question.moment.index % self.every
        if off or not isinstance(prediction, CategoricalPrediction):
            return prediction
        ledger = question.population.setup.network.ledger
        if scale != 0:
            ledger.count(value_calls=batch(question.x))
            prediction = tilted(prediction, self.objective, scale)
        if self.ascent is not None:
            rate = strength_of(self.ascent.rate, question.population.setup, question.moment)
            times = self.ascent.iterations
            if rate != 0:
                ledger.count(value_calls=times * batch(question.x))
                prediction = tilted(prediction, self.objective, rate * times, times)
        return prediction

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        proposal, prediction = inner(population, step), population.predict()
        note = prediction.notes.get(self)
        if note is None:
            return proposal
        scale, gradient, delta = note
        self._check_finite(population, step, gradient if delta is None else delta)
        if population.setup.weighted:
            return proposal.tilt(map_leaves(lambda leaf: scale * leaf, gradient))
        if gradient is not None and self.place == "after":
            if self.rule is None:
                proposal = proposal.shift(gradient, scale)
            else:
                proposal = proposal.shift(*self._step(population, step, prediction, gradient, scale))
        if delta is not None and self.ascent.keeps_noise:  # type: ignore[union-attr]
            if isinstance(delta, Tensor):
                return proposal.shift(delta, population.process.coefficients(step.u)[0])
            then = each(lambda part, move, process: process.coefficients(step.u)[0] * move, prediction, delta,
                        population.process)  # fmt: skip
            proposal = proposal.shift(then)
        return proposal

    def _step(self, population: Population, step: Step, prediction: Any, gradient: Any, scale: float) -> Any:
        """(delta, factor) of the shift after the step, by the rule."""
        steps, process = len(population.setup.steps), population.process
        rule: Any = self.rule
        if isinstance(gradient, Tensor):
            return gradient, scale * rule(Spot(prediction, gradient, process.coefficients(step.u), steps))

        def move(part: GaussianPrediction, slope: Tensor, own: Any) -> Tensor:
            size: Any = scale * rule(Spot(part, slope, own.coefficients(step.u), steps))
            return column(size.to(slope), slope) * slope if isinstance(size, Tensor) else size * slope

        return each(move, prediction, gradient, process), 1.0

    def _check_finite(self, population: Population, step: Step, moves: Any) -> None:
        """Stop where a gradient is no finite number: what follows would be none either."""
        for leaf in leaves(moves):
            if (leaf.device.type == "cpu" or step.start.index % REST == 0) and not math.isfinite(float(leaf.sum())):
                setup = population.setup
                raise ExplodedError(
                    f"{self.name}: a gradient is no finite number at step {step.start.index + 1} of "
                    f"{len(setup.steps)} (t={step.t:.3g}, sampler {type(setup.sampler).__name__}); "
                    f"make scale smaller (now {self.scale}), or take more steps"
                )


def _least(a: Any) -> Any:
    """The signal, or next to nothing where there is none and the gradient is zero."""
    return a.clamp_min(1e-12) if isinstance(a, Tensor) else max(a, 1e-12)


def _through_data_of_unit_size(part: GaussianPrediction, slope: Tensor) -> Tensor:
    """The gradient at x_t from that at the clean estimate, where the network is not looked through; see `SOURCES`."""
    return slope * column(part.a / (part.a * part.a + part.s * part.s), slope)


class ExplodedError(ValueError):
    """A gradient that is no finite number; the message says where, and what to do."""
