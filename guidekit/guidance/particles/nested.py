"""Nested sequential Monte Carlo: a search inside a particle filter, which makes up for what the search does."""

from __future__ import annotations

from collections.abc import Sequence

from guidekit.core.guidance import Guidance, chain
from guidekit.core.objective import Objective
from guidekit.guidance.candidates.svdd import SVDD
from guidekit.guidance.particles.filter import TEMPERATURE, FKSteering
from guidekit.guidance.values import Estimate, estimate_of
from guidekit.registry import register


@register("guidance", "nested_smc")
def NestedSMC(  # noqa: N802 - a preset
    reward: Objective,
    temperature: float | None = None,
    value: Estimate | Objective | None = None,
    *,
    candidates: int = 4,
    particles: int = 4,
    resampler: str = "systematic",
    ess_threshold: float | None = 0.5,
    interval: int | Sequence[int] = 1,
    output: str = "draw",
) -> Guidance:
    """Nested sequential Monte Carlo: every particle's step is chosen among M; p(x_0) exp(reward / temperature).

    A search by itself is biased; here the mean value of its candidates becomes the weight of the particle, which makes
    the whole exact for any number of candidates. It is chain(SVDD(reward, alpha=temperature), FKSteering(reward)).

    Args:
        reward, temperature, value: see `FKSteering`.
        candidates: M of every particle, at least 1; 1 is FK steering.
        particles, resampler, ess_threshold, interval, output: see `ParticleFilter`.

    Raises:
        ValueError: settings outside their choices.

    Source: Naesseth, Lindsten & Schon 2015, arXiv:1502.02536.
    """
    estimate = estimate_of("NestedSMC", reward, value, temperature, TEMPERATURE)
    search = SVDD(reward, candidates, estimate.temperature, estimate)
    filtered = FKSteering(
        reward,
        estimate.temperature,
        value=estimate,
        particles=particles,
        resampler=resampler,
        ess_threshold=ess_threshold,
        interval=interval,
        output=output,
    )
    return chain(search, filtered)
