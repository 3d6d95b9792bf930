"""Feynman-Kac correctors of real-valued states by name: which experts, to which powers, and the filter around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from guidekit.core.guidance import Guidance, chain
from guidekit.core.objective import Goal, Objective
from guidekit.core.prior import Prior
from guidekit.guidance.contrast import NULL, Given
from guidekit.guidance.contrast.branches import Branch
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.particles.path_corrector import PathCorrector
from guidekit.registry import register


def experts(
    power: float, weight: float, also: Sequence[Any], other: Prior | None
) -> tuple[tuple[Branch, ...], tuple[float, ...]]:
    """(p_0^(1 - w) p_c^w prod_j p_j p_other)^power as experts and their powers; the question itself is the last."""
    if not math.isfinite(weight) or not math.isfinite(power):
        raise ValueError(f"power and weight must be finite numbers, got power={power}, weight={weight}")
    experts: list[tuple[Branch, float]] = [] if weight == 1 else [(NULL, power * (1 - weight))]
    experts += [(Given(value), power) for value in also]
    experts += [] if other is None else [(Branch(prior=other), power)]
    experts.append((Branch(), power * weight))
    return tuple(branch for branch, _ in experts), tuple(number for _, number in experts)


@register("guidance", "score_product")
def ScoreProduct(  # noqa: N802 - a preset
    power: float = 1.0,
    weight: float = 1.0,
    also: Sequence[Any] = (),
    other: Prior | None = None,
    reward: Goal | None = None,
    gamma: float = 1.0,
    formulation: str = "scaled_noise",
    *,
    probes: int | None = None,
    center: bool = False,
    increment_clip: float | None = None,
) -> PathCorrector:
    """Within a particle filter: the law (p_0^(1 - w) p_c^w prod_j p_j p_other)^power exp(gamma r) of real numbers.

    The inside of `FeynmanKacCorrector`, for a filter of your own: with `FKSteering` a black-box reward, between the two
    a gradient guidance as a proposal. All increments are 0 where the law is that of one expert.

    Args:
        power: beta; 3 is sampling at a third of the temperature.
        weight: w of the condition, see `CFG`; 1 is the conditional model alone.
        also: further conditions whose laws are multiplied in, each what `Prior.condition` takes.
        other: a second prior of the same states and process, whose law is multiplied in, under the same condition.
        reward: r, differentiable, in nats where gamma is 1; it is shown noisy states.
        gamma: strength of the reward, 1 / temperature; it grows with the signal, gamma a^2 / (a^2 + s^2).
        formulation: "scaled_noise" keeps the steps of the experts' average and scales their noise (needs the divergence
            of the network where the powers do not add up to 1), "target_score" follows the score of the target.
        probes: of the divergence: 0 is exact, a backward pass a number of the state; null is exact up to 64 numbers and
            one random probe above.
        center, increment_clip: take the group's mean off the log-weights of a step, cut them to +- so many nats: less
            variance for a bias.

    Raises:
        ValueError: settings out of range.

    Source: see `guidekit.guidance.particles.feynman_kac`.
    """
    branches, powers = experts(power, weight, also, other)
    numerics: dict[str, Any] = {"probes": probes, "center": center, "increment_clip": increment_clip}
    return PathCorrector(branches, powers, reward, gamma, formulation, **numerics)


@register("guidance", "feynman_kac_corrector")
def FeynmanKacCorrector(  # noqa: N802
    power: float = 1.0,
    weight: float = 1.0,
    also: Sequence[Any] = (),
    other: Prior | None = None,
    reward: Goal | None = None,
    gamma: float = 1.0,
    formulation: str = "scaled_noise",
    *,
    probes: int | None = None,
    center: bool = False,
    increment_clip: float | None = None,
    particles: int = 8,
    resampler: str = "systematic",
    ess_threshold: float | None = 0.5,
    interval: int = 1,
    window: tuple[float, float] = (1.0, 0.0),
    output: str = "draw",
) -> Guidance:
    """Feynman-Kac corrector: weighted particles of the law (p_0^(1 - w) p_c^w prod_j p_j p_other)^power exp(gamma r).

    It is chain(ScoreProduct(...), ParticleFilter(...)), see there. `dpm_solver` with eta = 1 needs fewest steps. For
    tokens there are `DiscreteFKC` and `DiscreteFKCProduct`.

    Args:
        power, weight, also, other, reward, gamma, formulation, probes, center, increment_clip: see `ScoreProduct`.
        particles, resampler, ess_threshold, interval, window, output: see `ParticleFilter`; no particle is the best.

    Raises:
        ValueError: settings out of range.

    Source: Skreta et al. 2025, arXiv:2503.02819.
    """
    numerics: dict[str, Any] = {"probes": probes, "center": center, "increment_clip": increment_clip}
    return chain(
        ScoreProduct(power, weight, also, other, reward, gamma, formulation, **numerics),
        ParticleFilter(
            particles=particles,
            resampler=resampler,
            ess_threshold=ess_threshold,
            interval=interval,
            window=window,
            output=output,
        ),
    )


@register("guidance", "fkc_anneal")
def FKCAnneal(  # noqa: N802
    power: float = 2.0, formulation: str = "scaled_noise", *, particles: int = 8, output: str = "draw"
) -> Guidance:
    """Annealing: weighted particles of p(x)^power, a law at 1 / power of the temperature.

    Args:
        power: beta, above 0; 1 has constant weights.
        formulation, particles, output: see `FeynmanKacCorrector`, which has the other settings.

    Source: Skreta et al. 2025, arXiv:2503.02819, proposition 3.1.
    """
    return FeynmanKacCorrector(power, formulation=formulation, particles=particles, output=output)


@register("guidance", "fkc_average")
def FKCAverage(  # noqa: N802
    weight: float = 2.0,
    *,
    particles: int = 8,
    output: str = "draw",
    center: bool = False,
    increment_clip: float | None = None,
    window: tuple[float, float] = (1.0, 0.0),
) -> Guidance:
    """Geometric average: weighted particles of p_c(x)^w p_0(x)^(1 - w), classifier-free guidance without its bias.

    Args:
        weight: w; 0 and 1 have constant weights.
        particles, output, center, increment_clip, window: see `FeynmanKacCorrector`, which has the other settings.

    Source: Skreta et al. 2025, arXiv:2503.02819, proposition 3.2.
    """
    options: dict[str, Any] = {"center": center, "increment_clip": increment_clip, "window": window}
    return FeynmanKacCorrector(weight=weight, particles=particles, output=output, **options)


@register("guidance", "fkc_product")
def FKCProduct(  # noqa: N802
    other: Prior, formulation: str = "scaled_noise", *, particles: int = 8, output: str = "draw"
) -> Guidance:
    """Product of experts: weighted particles of p(x) p_other(x), which both experts must like.

    Args:
        other: a second prior of the same states and process; for conditions of one prior see `FeynmanKacCorrector`,
            also=.
        formulation, particles, output: see `FeynmanKacCorrector`, which has the other settings.

    Source: Skreta et al. 2025, arXiv:2503.02819, proposition 3.3.
    """
    return FeynmanKacCorrector(other=other, formulation=formulation, particles=particles, output=output)


@register("guidance", "fkc_reward")
def FKCReward(  # noqa: N802
    reward: Objective, gamma: float = 1.0, *, particles: int = 8, output: str = "draw"
) -> Guidance:
    """Reward tilt: weighted particles of p(x) exp(gamma r(x)), guided by half the gradient of the reward.

    Args:
        reward: r, differentiable; it is shown noisy states.
        gamma: 1 / temperature.
        particles, output: see `FeynmanKacCorrector`, which has the other settings.

    Source: Skreta et al. 2025, arXiv:2503.02819, proposition 3.4.
    """
    return FeynmanKacCorrector(reward=reward, gamma=gamma, particles=particles, output=output)
