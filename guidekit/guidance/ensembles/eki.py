"""Ensemble Kalman inversion: an ensemble of draws from the prior is moved to what was measured, without diffusion."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor

from guidekit.core.population import Population
from guidekit.core.random import Draw
from guidekit.guidance.ensembles.kalman import Seen, descent, stochastic, transform
from guidekit.guidance.ensembles.members import Ensemble, best_of, noise_of_rows
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.registry import register

RULES = ("transform", "stochastic", "descent")


@register("guidance", "ensemble_kalman_inversion")
@dataclasses.dataclass(frozen=True, eq=False)
class EnsembleKalmanInversion(Ensemble):
    """EKI: members of a group are drawn from the prior, and moved at time 0 by Kalman's update, a share at a time.

    The baseline without diffusion: after the first move only the ensemble remembers the prior. Exact for Gaussian
    priors and linear measurements, as members grow; moves stay within the span of the ensemble. No derivative of the
    forward model. Members on which it fails stay where they are at that update, and do not count for the others.

    Args:
        likelihood: of a measurement, need not be differentiable; a reward with rule="descent".
        updates: shares in which the measurement is put in; more for forward models that are bent more.
        rule: "transform", the ensemble transform (ETKI), exact in the covariance of any number of members;
            "stochastic", classical, each member with noise of its own; "descent", the normalized steps of
            `EnsembleKalmanGuidance`, which want hundreds of updates and stop nowhere. None is "transform" for
            measurements and "descent" for rewards.
        strength: of a step of "descent", of the spread of the ensemble.
        inflation: of differences from the mean after each update of "transform"; 1 is none.
        particles: members J of a group.
        at_once: most states in one call of the forward model.
        output: "all" hands back all members, "best" the one of each group nearest to the measurement.
        floor: least standard deviation of the noise that is assumed.

    Raises:
        ValueError: settings outside their range.

    Source: Iglesias, Law and Stuart 2013 (Inverse Problems 29); the transform of Bishop et al. 2001; "descent" is the
    baseline of Zheng et al. 2024, arXiv:2409.20175.
    """

    updates: int = 10
    rule: Literal["transform", "stochastic", "descent"] | None = None
    strength: float = 2.0
    inflation: float = 1.0
    particles: int = 64
    at_once: int = 1024
    output: Literal["all", "best"] = "all"
    floor: float = 0.01

    def __post_init__(self) -> None:
        """Take functions for objectives; refuse settings outside their range."""
        if self.rule is None:
            object.__setattr__(self, "rule", RULES[0] if isinstance(self.likelihood, GaussianNoise) else RULES[-1])
        self.check_settings(rule=RULES)
        if not 1 <= self.inflation < math.inf:
            raise ValueError(f"inflation must be a finite number of at least 1, got {self.inflation}")

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`: the updates."""
        if population.particles == 1:
            return population
        for number in range(self.updates):
            seen = self.seen(population, population.state)
            moves = self._moves(population, seen, number).reshape(population.state.shape)
            population = population.at(population.state + moves)
        return population if self.output == "all" else best_of(population, self.likelihood, self.at_once)

    def _moves(self, population: Population, seen: Seen, number: int) -> Tensor:
        """By how much the members move, (P, K, d)."""
        setup, share = population.setup, 1 / self.updates
        x = population.state.reshape(population.groups, population.particles, -1)
        if self.rule == "descent":
            return descent(x, seen, self.strength, torch.float64)
        noise = noise_of_rows(population, self.likelihood, self.floor)  # type: ignore[arg-type]  # checked
        if self.rule == "transform":
            return transform(x, seen, noise, share, self.inflation)
        key = (*population.key, "update", number)
        like = seen.values.reshape(len(population), -1).double()
        noises = Draw(setup.random, key, f"{setup.labels[self]} noise").normal(like).view(seen.values.shape)
        return stochastic(x, seen, noise, noises, share)


__all__ = ["EnsembleKalmanInversion"]
