"""Feynman-Kac steering: a particle filter whose potentials come from intermediate rewards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.values import LearnedValue, Value, refuse_other_noise, value_of

TEMPERATURE = 0.1
"""For rewards between 0 and 1, such as QED."""

POTENTIALS = ("difference", "max", "sum")


@dataclasses.dataclass(frozen=True)
class FKSteering(ParticleFilter):
    """K particles per group, weighted by potentials and resampled; the target is p(x_0) exp(reward / temperature).

    With lambda = 1 / temperature and r_s the value at the s-th evaluation, the log-potential of an evaluation is
      difference: lambda (r_u - r_t), r = 0 before the first;
      max:        lambda max_s r_s;
      sum:        lambda sum_s r_s;
    and the last one is lambda r(x_0) minus all potentials the path has had, which makes the target exact for every
    choice. Weights are kept in log space and in float64, and kept when resampling does not fire. A value of minus
    infinity before the end (an estimate that decodes to nothing) leaves the path's potential as it was.

    Guidance inside it that tilts the proposals of a token prior (`DCBG`, `PredictorGuidance`) is corrected for: the
    weights take in log p - log proposal of every step, so the pair samples the same target with less variance. That is
    twisted sequential Monte Carlo.

    Args:
        reward: clean states (B, *S) -> (B,).
        temperature: 1 / lambda, in the unit of the reward; None is what the reward suggests (its `temperature`), or
            else `TEMPERATURE`.
        potential: "difference", "max" or "sum".
        particles, resampler, ess_threshold, interval, window, output: see `ParticleFilter`; "best" is the particle of
            highest reward.
        value: (population, t) -> (P * K,), or a `LearnedValue`; None is the reward of the clean estimate, relaxed where
            the reward can be.

    Source: Singhal et al. 2025, arXiv:2501.06848, eq. 7-9; with tilted proposals Wu et al. 2023, arXiv:2306.17775.
    """

    reward: Callable[..., Tensor]
    temperature: float | None = None
    potential: str = "difference"
    value: Value | LearnedValue | None = None

    def __post_init__(self) -> None:
        """Refuse settings outside their choices."""
        super().__post_init__()
        if self.potential not in POTENTIALS:
            raise ValueError(f"potential={self.potential!r}; accepted: {', '.join(POTENTIALS)}")
        if not (isinstance(self._warmth, int | float) and self._warmth > 0):
            raise ValueError(f"temperature={self.temperature}; it must be a positive number")

    @property
    def _warmth(self) -> float:
        """The temperature, or what stands in for it."""
        return getattr(self.reward, "temperature", TEMPERATURE) if self.temperature is None else self.temperature

    def check(self, run: Run) -> None:
        """See `ParticleFilter.check`; a learned value must fit the prior."""
        super().check(run)
        refuse_other_noise(self.value, run.prior)

    def log_potential(self, population: Population, u: float, last: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """See `ParticleFilter.log_potential`."""
        rewards = value_of(self.reward, self.value, self._warmth)(population, u) / self._warmth
        total, history = population.memory["fk_total"], population.memory["fk_history"]
        step, history = self._log_potential(rewards, total, history, last)
        return step, {"fk_history": history}

    def _log_potential(self, rewards: Tensor, total: Tensor, history: Tensor, last: bool) -> tuple[Tensor, Tensor]:
        if last:
            return rewards - total, history
        known = rewards.isfinite()
        if self.potential == "difference":
            return torch.where(known, rewards - total, 0.0), history
        if self.potential == "max":
            history = torch.where(known, torch.maximum(history, rewards), history)
        else:
            history = torch.where(known, torch.where(history.isinf(), 0.0, history) + rewards, history)
        return torch.where(history.isfinite(), history, 0.0), history
