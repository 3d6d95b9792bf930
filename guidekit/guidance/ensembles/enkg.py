"""Ensemble Kalman diffusion guidance: a forward model without derivatives moves an ensemble of noisy states."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch
from torch import Tensor

from guidekit.core.guidance import Move
from guidekit.core.population import Population
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.guidance.ensembles.kalman import descent, transform
from guidekit.guidance.ensembles.members import Ensemble, best_of, noise_of_rows
from guidekit.guidance.inverse.own_steps import check_counts
from guidekit.guidance.inverse.walks import walked
from guidekit.processes.grids import Levels
from guidekit.registry import register
from guidekit.samplers.ancestral import DDIM

RULES = ("descent", "transform")
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


@register("guidance", "ensemble_kalman_guidance")
@dataclasses.dataclass(frozen=True, eq=False)
class EnsembleKalmanGuidance(Ensemble):
    """EnKG: before each step, members of a group move along their own differences, by what the forward model says.

    x_j <- x_j - strength sum_k C_jk (x_k - mean) / |C|, C_jk = <A(z_j) - y, A(z_k) - mean A(z)> / J, with z_j where the
    probability flow takes x_j. No derivative of the forward model, no backward pass of the network. Moves stay within
    the span of the ensemble, so it needs many members: more than the numbers of a state that matter. One member is the
    unguided sampler. A member on which the forward model fails (raises, takes too long, or gives numbers that are not
    finite) stays where it is at that update, is counted, and does not count for the others. A reward is a measurement
    of one number: members move along the covariance of state and reward.

    Args:
        likelihood: of a measurement, or a reward; need not be differentiable.
        strength: by how much the ensemble moves, of its own spread; as published.
        updates: moves before each step.
        rule: "descent", as published; "transform" replaces it by the ensemble transform of Kalman's update with an
            equal share of the measurement at every move, exact for Gaussian priors and linear measurements as members
            and `most` grow.
        start_frac, end_frac: shares of the steps, at noise and at the end, in which nobody moves.
        factor: every so many steps that are left give one more step of the flow from x_j to z_j.
        most: steps of it at most; 1 takes the prediction E[x_0 | x_t].
        decay: the strength falls evenly from its value to this share of it.
        particles: members J of a group.
        at_once: most states in one call of the forward model.
        precision: "float32" or "float64", of C.
        output: "all" hands back all members, "best" the one of each group nearest to the measurement.
        floor: least standard deviation of the noise that "transform" assumes.

    Raises:
        ValueError: settings outside their range.

    Source: Zheng et al. 2024, arXiv:2409.20175, algorithm 1; the transform is this library's.
    """

    strength: float = 2.0
    updates: int = 2
    rule: Literal["descent", "transform"] = "descent"
    start_frac: float = 0.05
    end_frac: float = 0.05
    factor: int = 4
    most: int = 20
    decay: float = 1.0
    particles: int = 64
    at_once: int = 1024
    precision: Literal["float32", "float64"] = "float32"
    output: Literal["all", "best"] = "all"
    floor: float = 0.01

    def __post_init__(self) -> None:
        """Take functions for objectives; refuse settings outside their range."""
        self.check_settings(rule=RULES, precision=tuple(PRECISIONS))
        check_counts(factor=self.factor, most=self.most)
        for name in ("start_frac", "end_frac", "decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """Euler's steps of the probability flow on the published levels."""
        return DDIM(times=Levels(0.002, 80.0))

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`: the ensemble moves at t, and then takes the step."""
        steps = population.setup.steps
        place, count = step.start.index - steps[0].start.index, len(steps)
        active = self.start_frac * count < place < count - math.floor(self.end_frac * count)
        if population.particles == 1 or self.strength == 0 or not active:
            return inner(population, step)
        calls = min(1 + (count - place) // self.factor, self.most)
        length = self.strength * (self.decay + (1 - self.decay) * (count - place) / count)
        for _ in range(self.updates):
            prediction: Any = population.predict()
            clean = walked(population, prediction, calls, 1)
            moves = prediction.support.project(self._moves(population, clean, length))
            population = population.at(population.state + moves)
        return inner(population, step)

    def _moves(self, population: Population, clean: Tensor, length: float) -> Tensor:
        """By how much the members move, (B, *S)."""
        seen = self.seen(population, clean)
        x = population.state.reshape(population.groups, population.particles, -1)
        if self.rule == "descent":
            moves = descent(x, seen, length, PRECISIONS[self.precision])
        else:
            noise = noise_of_rows(population, self.likelihood, self.floor)  # type: ignore[arg-type]  # checked
            moves = transform(x, seen, noise, length / self.strength / self._shares(population))
        return moves.reshape(population.state.shape)

    def _shares(self, population: Population) -> float:
        """Of how many moves, in units of the first, a run has."""
        count = len(population.setup.steps)
        places = [i for i in range(count) if self.start_frac * count < i < count - math.floor(self.end_frac * count)]
        return self.updates * sum(self.decay + (1 - self.decay) * (count - i) / count for i in places)

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`."""
        if self.output == "all" or population.particles == 1:
            return population
        return best_of(population, self.likelihood, self.at_once)


__all__ = ["EnsembleKalmanGuidance"]
