"""Classifier-free guidance, in an interval of noise levels, with random conditions, with its direction projected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from guidekit.core.prediction import Prediction
from guidekit.core.support import Support
from guidekit.guidance.contrast import (
    LINEAR,
    Answers,
    Contrast,
    Drawn,
    Number,
    Rule,
    Schedules,
    Weight,
    base,
    check_finite,
    check_range,
    contrast,
    rules,
)
from guidekit.guidance.contrast.schedules import Interval
from guidekit.registry import register


@register("guidance", "cfg")
def CFG(  # noqa: N802 - a preset
    weight: Weight = 2.0, negative: Any = None, schedule: Schedules = None, rescale: float = 0.0
) -> Contrast:
    """Classifier-free guidance D = D_0 + w (D_c - D_0); with a negative condition n, D = D_n + w (D_c - D_n).

    w = 1 is the conditional model and w = 0 the base, each with one network call; other weights join both branches in
    one call. On tokens the rule acts on log p(x_0 | z) at every position and normalizes again (D-CFG).

    Args:
        weight: w, dimensionless; a number, or a function of t (number or (B,)) for a schedule.
        negative: condition to move away from, one row without the batch, or what `Prior.condition` takes (the name of a
            label's value); None is the null condition.
        schedule: when the weight holds: None is always, two numbers are an interval (low, high] of noise levels s / a
            (for tokens the share that is lost), or one of `guidekit.guidance.contrast.schedules`.
        rescale: share in [0, 1] of the excess standard deviation that is taken back, in v space.

    Source: Ho & Salimans 2022, arXiv:2207.12598, with w = 1 + (their weight); Liu et al. 2022, arXiv:2206.01714, for
    conditions in place of the null; tokens: Schiff et al. 2024, arXiv:2412.10193, with w = gamma; rescale: Lin et al.
    2023, arXiv:2305.08891, section 3.4.
    """
    return contrast("CFG", base(negative), LINEAR, weight, schedule, rescale)


@register("guidance", "cfg_rescale")
def CFGRescale(  # noqa: N802
    weight: Weight = 7.5, rescale: float = 0.7, negative: Any = None, schedule: Schedules = None
) -> Contrast:
    """`CFG`, with the standard deviation of every sample brought back to that of the conditional prediction.

    Args:
        weight, negative, schedule: see `CFG`.
        rescale: phi; 0 is CFG, 1 gives exactly the conditional standard deviation, in v space.

    Source: Lin et al. 2023, arXiv:2305.08891, section 3.4.
    """
    return contrast("CFGRescale", base(negative), LINEAR, weight, schedule, rescale)


@register("guidance", "guidance_interval")
def GuidanceInterval(  # noqa: N802
    weight: Weight = 2.0, low: float = 0.0, high: float = 3.0, by: str = "sigma", negative: Any = None
) -> Contrast:
    """`CFG` at noise levels low < s / a <= high, the conditional model alone at others: one branch there, not two.

    Args:
        weight, negative: see `CFG`.
        low, high: noise levels, in the unit of the data; for tokens the share that is lost, in [0, 1].
        by: "sigma", or "log_snr" for levels as log(a^2 / s^2).

    Source: Kynkaanniemi et al. 2024, arXiv:2404.07724.
    """
    return contrast("GuidanceInterval", base(negative), LINEAR, weight, Interval(low, high, by))


@register("guidance", "icg")
def ICG(  # noqa: N802
    weight: Weight = 2.0,
    conditions: Sequence[Any] | None = None,
    weights: Sequence[float] | None = None,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Independent condition guidance: D_r + w (D_c - D_r), with a condition r drawn anew for every sample and step.

    For networks that were trained without a null condition. Averaged over r it is w D_c + (1 - w) mean_r D_r, which is
    not the unconditional prediction, except at high noise. With few conditions the draws are noisy, and one in as many
    is c itself.

    Args:
        weight: w.
        conditions: to draw from, each what `Prior.condition` takes; None is all that the prior knows.
        weights: how likely each is, as in the training data; None is equal.
        schedule, rescale: see `CFG`.

    Raises:
        ValueError: as many weights as conditions are needed, none below 0.

    Source: Sadat et al. 2024, arXiv:2407.02687, section 4.
    """
    for value in weights or ():
        check_range("ICG", weights=value)
    if weights is not None and (conditions is None or len(conditions) != len(weights) or sum(weights) == 0):
        raise ValueError(f"ICG: {len(weights)} weights for {len(conditions or ())} conditions; one each, not all 0")
    return contrast("ICG", (Drawn(conditions, weights),), LINEAR, weight, schedule, rescale)


@register("guidance", "apg")
def APG(  # noqa: N802
    weight: Weight = 2.0,
    negative: Any = None,
    schedule: Schedules = None,
    rescale: float = 0.0,
    eta: float = 0.0,
    momentum: float | None = None,
    cap: float | None = None,
) -> Contrast:
    """Adaptive projected guidance: D_c + (w - 1) (d' + eta d''), d'' the part of the direction along D_c.

    The direction d = D_c - D_0 gets momentum, then a cap on its length, then it is split. With eta = 1, no momentum and
    no cap it is `CFG` bit for bit. Acts on clean estimates; of tokens on centered logits.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        eta: factor of the parallel part; 0 takes it away.
        momentum: beta, factor of the direction used a step before, usually negative; kept with its particle. None is
            what the number of steps allows, see `safe_momentum`: -.5 from 16 steps on, 0 up to 12.
        cap: greatest root mean square of the direction (the source's radius over the square root of the dimension).

    Raises:
        ValueError: settings that are no numbers, a cap that is not above 0.

    Source: Sadat et al. 2024, arXiv:2410.02416, algorithm 1.
    """
    check_finite("APG", eta=eta, momentum=0.0 if momentum is None else momentum)
    check_range("APG", above=True, cap=cap)

    def combine(answers: Answers, weight: Number) -> Prediction:
        steps_of_run = len(answers.question.population.setup.steps)
        beta = safe_momentum(steps_of_run) if momentum is None else momentum
        before = iter((answers.recall() or ()) if beta else ())
        steps: list[Tensor] = []  # one a part, kept for the next step

        def formula(support: Support, w: Number, base: Tensor, own: Tensor) -> Tensor:
            step, last = own - base, next(before, None)
            steps.append(step if last is None else step + beta * last.to(step))
            return rules.projected(support, steps[-1], own, w, eta, cap)

        guided = answers.mapped(formula, weight)
        return guided.noting(answers.owner, tuple(steps)) if beta else guided

    plain = eta == 1 and momentum == 0 and cap is None
    rule = LINEAR if plain else Rule(combine, remembers=momentum != 0, caution=lambda steps: _reverses(momentum, steps))
    return contrast("APG", base(negative), rule, weight, schedule, rescale)


def safe_momentum(steps: int) -> float:
    """The momentum of APG that so many steps allow with any sampler: 0 up to 12 steps, -.5 from 16 on.

    Between few steps the direction shrinks, and what is left of the one before turns it round: the guidance pushes
    away from the class, step after step, and pictures fill with white. Measured at weight 8 on Fashion-MNIST.
    """
    return -0.125 * min(max(steps - 12, 0), 4) + 0.0


def _reverses(momentum: float | None, steps: int) -> str:
    """What to expect of a momentum in so few steps."""
    if momentum is None or momentum >= safe_momentum(steps):
        return ""
    return (
        f"momentum={momentum:g} may turn the guidance round in {steps} steps: at least {safe_momentum(steps):g} is "
        "safe (momentum=null chooses it)"
    )
