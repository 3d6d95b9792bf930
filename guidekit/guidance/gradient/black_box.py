"""Gradient guidance by black boxes: the gradient at the clean estimate comes from scores around it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move
from guidekit.core.network import differentiable, noted
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, batch, cat, column
from guidekit.core.step import Step
from guidekit.guidance.gradient.dps import DPS
from guidekit.guidance.gradient.engine import GradientGuidance
from guidekit.guidance.gradient.losses import LOSSES, Misfit
from guidekit.guidance.gradient.places import displaced
from guidekit.guidance.gradient.probes import Differences, Probes, weighed
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.objectives.reward import objective_of
from guidekit.registry import register

MOMENTUM = 0.1
"""Share of the direction before that is kept at first."""

SMOOTH = 0.9
"""Share of the running loss that is kept."""

LEAST = 1e-12


@register("tool", "estimated")
def estimated(
    guidance: GradientGuidance, draws: int = 64, width: float = 0.01, kind: Literal["central", "forward"] = "central"
) -> GradientGuidance:
    """A gradient guidance that needs no gradient of its objective: it is estimated by `Differences`.

    The network is still looked through: one product with its Jacobian a step.

    Args:
        guidance: DPS, FreeDoM and others made of `GradientGuidance`; not those that smooth their objective.
        draws, width, kind: see `Differences`.
    """
    return dataclasses.replace(guidance, estimator=Differences(draws, width, kind))


@register("guidance", "dps_gsg")
def DPSGSG(  # noqa: N802 - a preset
    likelihood: Objective,
    scale: float | None = None,
    draws: int = 64,
    width: float = 0.01,
    kind: Literal["central", "forward"] = "central",
    loss: str = "norm",
) -> GradientGuidance:
    """DPS with a black box: its gradient at the clean estimate comes from differences along random directions.

    Any other gradient guidance does so by `estimated(guidance, draws)`. The error of a gradient of d numbers is about
    sqrt(d / directions) of its length, so pictures want many draws.

    Args:
        likelihood: of a measurement, or a reward; need not be differentiable.
        scale, loss: see `DPS`; by default the norm, whose steps have one length.
        draws: scores of the black box a sample and step; two a direction where central.
        width: of the directions, in the unit of states.
        kind: "central" (cGSG) or "forward" (fGSG) differences.

    Raises:
        ValueError: settings outside their range.

    Source: baselines DPS-fGSG and DPS-cGSG of Zheng et al. 2024, arXiv:2409.20175.
    """
    made = estimated(DPS(likelihood, scale, loss), draws, width, kind)
    return dataclasses.replace(made, title="DPSGSG")


@dataclasses.dataclass(frozen=True)
class Course:
    """What is remembered of a path: the running loss (B,), and the gradient before (B, *S); NaN and 0 at first."""

    loss: Tensor
    gradient: Tensor


@register("guidance", "diffusion_policy_gradient")
@dataclasses.dataclass(frozen=True, eq=False)
class DiffusionPolicyGradient(Guidance[Course]):
    """DPG: the clean estimate as a policy, improved by what draws around it are worth; no gradient of the objective.

    With draws z_j of N(D, r^2), D = E[x_0 | x_t], and worths R_j = exp((f(z_j) - f(D)) / Z) less the mean of the
    others', the gradient at D is sum_j R_j (z_j - D) / r^2. Through the network, with momentum, and with its length
    taken out it is added to the score. For a measurement f = -||y - A x||^2, Z is its running size and
    r = sqrt(Z / d) / 2; for a reward Z is the root mean square of f(z_j) - f(D), and r half of what is unknown of data
    of unit size.

    Args:
        likelihood: of a measurement, or a reward; need not be differentiable.
        scale: length of what is added to the score, over sqrt(d), the length of the score of unit noise; the published
            200 for pictures of 256 x 256 is .45.
        draws: scores of the black box a sample and step, besides that of D.
        momentum: share of the last gradient that is kept at first, none at the end.

    Raises:
        ValueError: settings outside their range.

    Source: Tang et al. 2024, arXiv:2403.10585, algorithm 1.
    """

    likelihood: Objective
    scale: float = 0.45
    draws: int = 64
    momentum: float = MOMENTUM
    layer = Layer.GRADIENT
    requires = frozenset({Fact.FLOW, Fact.WHOLE})

    def __post_init__(self) -> None:
        """Take functions for objectives; refuse settings outside their range."""
        object.__setattr__(self, "likelihood", objective_of(self.likelihood, "DiffusionPolicyGradient", "a likelihood"))
        if not isinstance(self.draws, int) or self.draws < 2:
            raise ValueError(f"draws must be a whole number of at least 2, got {self.draws!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be a share below 1, got {self.momentum}")
        if not self.scale >= 0 or not math.isfinite(self.scale):
            raise ValueError(f"scale must be a finite number of at least 0, got {self.scale}")
        residual = isinstance(self.likelihood, GaussianNoise)
        object.__setattr__(self, "_target", LOSSES["residual"](self.likelihood) if residual else self.likelihood)  # type: ignore[arg-type]

    @property
    def target(self) -> Objective:
        """What is climbed: minus half the squared residual of a likelihood over |A|^2, rewards as they are."""
        return self._target  # type: ignore[attr-defined]

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return (self.target,)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Clean states, and no weights: what is added to the score has no kernel of its own."""
        if self.target.on == "noisy":
            raise GuidanceError(f"{self.name} looks at clean states, and {self.target.name} is a value of noisy ones")
        if any(Fact.WEIGHTS in member.provides for member in members):
            raise GuidanceError(
                f"{self.name} moves the clean estimate, which no weight makes up for: leave out the particle filter, "
                "or use DPSGSG inside it"
            )

    def start(self, population: Population) -> Population:
        """See `Guidance.start`."""
        zero = torch.zeros_like(population.state)
        return population.remember(self, Course(zero.flatten(1)[:, 0] + torch.nan, zero))

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`; the course is noted for `move`."""
        network = question.population.setup.network
        if network.limit is not None and batch(question.x) > network.limit:
            rows = torch.arange(batch(question.x), device=question.x.device).split(network.limit)
            return cat(noted([self.denoise(inner, question.take(piece)) for piece in rows]))
        if self.scale == 0:
            return inner(question)
        course = question.recall(self)
        with torch.enable_grad():
            at = differentiable(question.x)
            prediction: Any = inner(altered(question, x=at))
            loss, slope = self._policy(Probes(self, question, self.target), prediction, course.loss)
            gradient = network.slopes((slope * prediction.mean).flatten(1).sum(1), at)
        kept = self.momentum * self._left(question)
        gradient = kept * course.gradient + (1 - kept) * gradient
        prediction = prediction.settled(question.x, self, None)
        return displaced(prediction, self._move(prediction, gradient)).noting(self, Course(loss, gradient))

    def _left(self, question: Question) -> float:
        """Share of the steps that are left."""
        steps = question.population.setup.steps
        return 1 - (question.moment.index - steps[0].start.index) / len(steps)

    @torch.no_grad()
    def _policy(self, probes: Probes, prediction: Any, before: Tensor) -> tuple[Tensor, Tensor]:
        """The running loss (B,) and the direction at the clean estimates (B, *S), in which worth grows."""
        base = probes.scores(prediction)
        loss = -2 * base[:, 0].to(before) if isinstance(self.target, Misfit) else torch.ones_like(before)
        loss = torch.where(before.isfinite() & loss.isfinite(), SMOOTH * before + (1 - SMOOTH) * loss, loss)
        loss = torch.where(loss.isfinite(), loss, before)
        wide = self._width(prediction, loss)
        noises, scores = [], []
        for noise in probes.noises(prediction, self.draws, "policy"):
            noises.append(noise)
            scores.append(probes.scores(prediction, wide.reshape(-1, *(1,) * (noise.ndim - 1)) * noise))
        noise, gain = torch.cat(noises, 1), torch.cat(scores, 1) - base
        if isinstance(self.target, Misfit):
            size = loss.double()[:, None] / 2
        else:
            size = gain.square().nanmean(1, keepdim=True).sqrt()
        fine = gain.isfinite()
        worth = (gain / size.clamp_min(LEAST)).nan_to_num(0.0).clamp(-50.0, 50.0).exp().masked_fill(~fine, 0.0)
        count = fine.sum(1, keepdim=True)
        others = (worth.sum(1, keepdim=True) - worth) / (count - 1).clamp_min(1)
        return loss, weighed((worth - others).masked_fill(~fine, 0.0), noise)

    def _width(self, prediction: Any, loss: Tensor) -> Tensor:
        """r, (B,)."""
        if isinstance(self.target, Misfit):
            d = prediction.mean[0].numel()
            return (loss.nan_to_num(1.0) / d).sqrt().clamp_min(1e-6) / 2
        a, s = prediction.a, prediction.s
        size = torch.as_tensor(s / (a * a + s * s) ** 0.5).to(loss) / 2
        return size.expand(len(loss)).clamp_min(1e-6)

    def _move(self, prediction: GaussianPrediction, gradient: Tensor) -> Tensor:
        """By how much the clean estimates move for a score that is longer by the scale, (B, *S)."""
        support = prediction.support
        a, s = (torch.as_tensor(each).to(gradient) for each in (prediction.a, prediction.s))
        size = (a * a + s * s).sqrt()
        root = torch.as_tensor(support.dimensions(gradient)).to(gradient).sqrt()
        length = self.scale * root * s * s / (a.clamp_min(LEAST) * size) / support.norm(gradient).clamp_min(LEAST)
        return column(length, gradient) * gradient

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`: the course is remembered."""
        course = population.predict().notes.get(self)
        moved = inner(population, step)
        return moved if course is None else moved.remember(self, course)


__all__ = ["DPSGSG", "DiffusionPolicyGradient", "estimated"]
