"""Classifier-free guidance, in an interval of noise levels, and with its spread taken back."""

from __future__ import annotations

from typing import Any

from guidekit.guidance.contrast.branches import base
from guidekit.guidance.contrast.engine import Contrast, contrast
from guidekit.guidance.contrast.rule import LINEAR
from guidekit.guidance.contrast.schedules import Interval, Schedules, Weight
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


__all__ = ["CFG", "CFGRescale", "GuidanceInterval"]
