"""Soft value-based decoding: draw candidates for the next state, keep one by its value."""

from __future__ import annotations

import math

from guidekit.core.objective import Objective
from guidekit.guidance.candidates.choices import OneOfEach
from guidekit.guidance.candidates.engine import CandidateSearch
from guidekit.guidance.candidates.judges import Whole
from guidekit.guidance.values import Estimate, estimate_of
from guidekit.objectives.reward import objective_of
from guidekit.registry import register

ALPHA = 0.01
"""Temperature for rewards between 0 and 1, such as QED."""


@register("guidance", "svdd")
def SVDD(  # noqa: N802 - a preset
    reward: Objective,
    candidates: int = 16,
    alpha: float | None = None,
    value: Estimate | Objective | None = None,
) -> CandidateSearch:
    """Each step draws M next states per sample and keeps candidate m with probability prop. to exp(v_m / alpha).

    The limit M -> infinity with the exact soft value samples p(x_0) exp(reward / alpha) exactly; a finite M is biased
    towards the prior. All candidates are evaluated in one joined network call, and the winner's answer serves the next
    step, so a step costs M network rows a sample, not M + 1. M = 1 is the unguided sampler. What the choice does to the
    law is told to a particle filter around it: together they are nested sequential Monte Carlo, exact.

    Args:
        reward: higher is better; need not be differentiable.
        candidates: M, at least 1.
        alpha: temperature in the unit of the reward; 0 keeps the best candidate (the authors' released code). None is
            what the reward suggests, or else `ALPHA`.
        value: of noisy states, see `guidekit.guidance.values.estimate_of` (a `LearnedValue` is SVDD-MC); None is the
            reward of the clean estimate (SVDD-PM), relaxed where the reward can be.

    Raises:
        ValueError: settings outside their range.

    Source: Li et al. 2024, arXiv:2408.08252, algorithm 1.
    """
    warmth = checked(alpha, "alpha")
    estimate = estimate_of("SVDD", objective_of(reward, "SVDD"), value, warmth, ALPHA)
    return CandidateSearch(judge=Whole((estimate,)), choice=OneOfEach(greedy=alpha == 0), candidates=candidates)


def checked(temperature: float | None, name: str) -> float | None:
    """A temperature that values can be divided by; of the greedy choice, 0, it is any.

    Raises:
        ValueError: no number of at least 0.
    """
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if temperature is not None and not (number and 0 <= temperature < math.inf):
        raise ValueError(f"{name} must be a number of at least 0, got {temperature!r}")
    return 1.0 if temperature == 0 else temperature
