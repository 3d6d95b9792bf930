"""Regularization by denoising: one clean state is optimized, the network says where it is not likely."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Move, overrides
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.state import column
from guidekit.core.step import Step
from guidekit.guidance.inverse.measurement import OwnSteps, held, measurement
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.processes.grids import Levels
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral

FIRST, SECOND, LEAST = 0.9, 0.99, 1e-8
"""Adam's forgetting of gradients and of their squares, and what is added to their root; as published."""


@dataclasses.dataclass(frozen=True)
class Optimum:
    """What is optimized, and the optimizer's memory; all (B, *S), but for `steps` (B,) done.

    Args:
        mu: the clean state.
        first, second: averages of its gradients and of their squares.
    """

    mu: Tensor
    first: Tensor
    second: Tensor
    steps: Tensor

    def moved(self, gradient: Tensor, rate: float) -> Optimum:
        """After a step of Adam against a gradient (B, *S)."""
        steps = self.steps + 1
        first = FIRST * self.first + (1 - FIRST) * gradient
        second = SECOND * self.second + (1 - SECOND) * gradient.square()
        mean, square = (
            value / column((1 - forgetting**steps).to(value.dtype), value)
            for value, forgetting in ((first, FIRST), (second, SECOND))
        )
        return Optimum(self.mu - rate * mean / (square.sqrt() + LEAST), first, second, steps)


@register("guidance", "red_diff")
@dataclasses.dataclass(frozen=True, eq=False)
class REDDiff(OwnSteps[Optimum]):
    """mu moves down the gradient |y - A mu|^2 + weight (E[noise | x_t] - noise), x_t = a_t mu + s_t noise, by Adam.

    An optimizer, not a sampler: it finds one clean state near a mode of the posterior, whatever the noise of y, and its
    spread is that of what it was noised with (.03 to .08 of the posterior's .45 for one number). No backward pass
    through the network; the sampler gives the levels only.

    Args:
        likelihood: of a measurement, or any differentiable objective, which is climbed as it is.
        weight: lambda of the network's part.
        rate: of Adam, in the unit of the data.

    Raises:
        ValueError: settings below 0.

    Source: Mardani et al. 2023, arXiv:2305.04391, algorithm 1; weight .25 as in the released code, whose rate is .02
    for 1,000 steps.
    """

    likelihood: Objective
    weight: float = 0.25
    rate: float = 0.1
    requires = frozenset({Fact.FLOW, Fact.WHOLE, Fact.GRADIENT})

    def __post_init__(self) -> None:
        """Check the settings."""
        if not (self.weight >= 0 and self.rate > 0):
            raise ValueError(f"weight={self.weight}, rate={self.rate}: at least 0, and above 0, are needed")

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """Levels at which the network knows something."""
        return Ancestral(times=Levels(0.02, 10.0))

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Nobody's steps may be ignored: of others only the estimate is looked at."""
        super().check(prior, sampler, members)
        for member in members:
            stepping = overrides(member, "propose") or overrides(member, "move") or overrides(member, "start")
            if member is not self and stepping:
                raise GuidanceError(
                    f"{self.name} optimizes and would ignore the steps of {member.name} in this run: leave out one"
                )

    def start(self, population: Population) -> Population:
        """mu begins at A^+ y where there is one, at 0 elsewhere, and is noised."""
        x = population.state
        mu = torch.zeros_like(x)
        if isinstance(self.likelihood, GaussianNoise) and Fact.PSEUDO_INVERSE in self.likelihood.provides:
            measured = measurement(self.likelihood, x, held(population, self.likelihood))
            mu = mu + measured.operator.pinv(measured.y).reshape(-1, *x.shape[1:])
        a, _ = population.process.coefficients(population.moment.t)
        zero = torch.zeros_like(x)
        optimum = Optimum(mu, zero, zero, torch.zeros(len(x), dtype=torch.int64, device=x.device))
        return population.at(a * mu + x).remember(self, optimum)

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """A step of the optimizer, and mu noised to the next level."""
        prediction: Any = population.predict()
        optimum = population.recall(self)
        pull = self.weight * float(prediction.a) / float(prediction.s) * (optimum.mu - prediction.mean)
        optimum = optimum.moved(self._misfit(population, optimum.mu) + pull, self.rate)
        b, r = population.process.coefficients(step.u)
        new = b * optimum.mu
        if r > 0:
            new = new + r * population.draw(step, "noise", self).normal(new)
        return population.at(new, step.end, step.key).remember(self, optimum)

    def _misfit(self, population: Population, mu: Tensor) -> Tensor:
        """Gradient of |y - A mu|^2, or of minus another objective, (B, *S)."""
        with torch.enable_grad():
            at = mu.detach().requires_grad_()
            if isinstance(self.likelihood, GaussianNoise):
                value = self.likelihood.residual(at, held(population, self.likelihood)).square().sum()
            else:
                zeros = torch.zeros(len(at)).to(at)
                value = -population.score_of(self.likelihood, at, zeros).sum()
            (found,) = torch.autograd.grad(value, at, materialize_grads=True)
        return found.to(mu)


__all__ = ["Optimum", "REDDiff"]
