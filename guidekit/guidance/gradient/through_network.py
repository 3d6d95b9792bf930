"""Guidance by the gradient of an objective of the clean estimate, taken through the network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, Layer, Propose
from guidekit.core.network import differentiable
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise, Question
from guidekit.core.state import State, altered, leaves, map_leaves
from guidekit.core.step import Step
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.objectives.reward import objective_of
from guidekit.registry import register


@register("guidance", "gradient")
@dataclasses.dataclass(frozen=True, eq=False)
class GradientGuidance(Guidance[None]):
    """x_u = step(x_t) + scale * grad_{x_t} objective(E[x_0 | x_t]); one network call and one backward pass a step.

    The gradient is taken per sample (the objective gives one number a row), so a sample does not depend on its batch.
    Where particles are weighed the kernel is tilted instead, its mean moved by variance * gradient: any move would be
    made up for by the weights, but those of a displacement that is large beside the noise of the step are useless.

    Args:
        objective: of clean states, to be increased; differentiable.
        scale: displacement per unit of gradient, a number or a function of t; 0 is unguided.
        twist: objective in nats that tilts kernels where particles are weighed; None is scale * objective.

    Source: the update of Chung et al. 2022, arXiv:2209.14687, for any objective; see `DPS`.
    """

    objective: Objective
    scale: float | Callable[[float], float] = 1.0
    twist: Objective | None = None
    layer = Layer.GRADIENT
    shifts = True
    requires = frozenset({Fact.FLOW, Fact.GRADIENT})

    def __post_init__(self) -> None:
        """Take functions for objectives; refuse a scale that is no number."""
        object.__setattr__(self, "objective", objective_of(self.objective, "GradientGuidance", "an objective"))
        if isinstance(self.scale, int | float) and not math.isfinite(self.scale):
            raise ValueError(f"scale must be a finite number, got {self.scale}")

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return (self.objective,) if self.twist is None else (self.objective, self.twist)

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`: the gradient is noted, for `propose`; tokens have none."""
        setup = question.population.setup
        objective = self.twist if setup.weighted and self.twist is not None else self.objective
        nested = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves(question.x))
        with torch.enable_grad():
            x = question.x if nested else map_leaves(differentiable, question.x)
            prediction = inner(altered(question, x=x))
            gradient = setup.network.slopes(question.score(objective, prediction), x, create_graph=nested)
        return prediction.noting(self, gradient) if nested else prediction.settled(question.x, self, gradient)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        proposal, gradient = inner(population, step), population.predict().note(self)
        scale = self.scale(step.t) if callable(self.scale) else self.scale
        if not population.setup.weighted:
            return proposal.shift(gradient, scale)
        return proposal.tilt(map_leaves(lambda leaf: (scale if self.twist is None else 1.0) * leaf, gradient))


@register("guidance", "dps")
def DPS(likelihood: Objective, scale: float = 0.3) -> GradientGuidance:  # noqa: N802 - a preset
    """Diffusion posterior sampling: after each step, x_u -= scale * grad_{x_t} ||y - A(E[x_0|x_t])||_2.

    A heuristic: with many steps it enforces the measurement almost exactly whatever its noise, so it is narrower than
    the posterior. The norm is taken per sample; the original code takes one over the whole batch. Inside a particle
    filter the gradient of the likelihood tilts the kernels, and the pair is twisted sequential Monte Carlo, exact.

    Args:
        likelihood: of a measurement; any other differentiable objective is used as it is.
        scale: zeta; 0.3 to 1 for images in [-1, 1] and 1,000 ancestral steps.

    Source: Chung et al. 2022, arXiv:2209.14687, algorithm 1.
    """
    objective = objective_of(likelihood, "DPS", "a likelihood")
    if isinstance(objective, GaussianNoise):
        return GradientGuidance(Distance(objective), scale, twist=objective)
    return GradientGuidance(objective, scale)


@dataclasses.dataclass(frozen=True, eq=False)
class Distance(Objective[Any]):
    """The negative residual norm of a likelihood as an objective."""

    likelihood: GaussianNoise
    differentiable = True

    @property
    def name(self) -> str:
        """Of the likelihood."""
        return self.likelihood.name

    @property
    def parts(self) -> frozenset[str] | None:  # type: ignore[override]
        """Of the likelihood."""
        return self.likelihood.parts

    def rows(self, samples: int) -> Any:
        """See `Objective.rows`."""
        return self.likelihood.rows(samples)

    def check(self, prior: Prior) -> None:
        """See `Objective.check`."""
        self.likelihood.check(prior)

    def scores(self, states: State, t: float | Tensor, rows: Any) -> Tensor:
        """-||y - A(x_0)||, (B,)."""
        return -self.likelihood.distance(states, rows)
