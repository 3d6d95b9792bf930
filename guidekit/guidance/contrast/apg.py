"""Adaptive projected guidance."""

from __future__ import annotations

from typing import Any

from guidekit.guidance.contrast.branches import base
from guidekit.guidance.contrast.engine import Contrast, contrast
from guidekit.guidance.contrast.rule import LINEAR, Projected
from guidekit.guidance.contrast.schedules import Schedules, Weight
from guidekit.guidance.contrast.settings import check_finite, check_range
from guidekit.registry import register


@register("guidance", "apg")
def APG(  # noqa: N802 - a preset
    weight: Weight = 2.0,
    negative: Any = None,
    schedule: Schedules = None,
    rescale: float = 0.0,
    eta: float = 0.0,
    momentum: float = -0.5,
    cap: float | None = None,
) -> Contrast:
    """Adaptive projected guidance: D_c + (w - 1) (d' + eta d''), d'' the part of the direction along D_c.

    The direction d = D_c - D_0 gets momentum, then a cap on its length, then it is split. With eta = 1, no momentum and
    no cap it is `CFG` bit for bit. Acts on clean estimates; of tokens on centered logits.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        eta: factor of the parallel part; 0 takes it away.
        momentum: beta, factor of the direction used a step before, usually negative; kept with its particle.
        cap: greatest root mean square of the direction (the source's radius over the square root of the dimension).

    Raises:
        ValueError: settings that are no numbers, a cap that is not above 0.

    Source: Sadat et al. 2024, arXiv:2410.02416, algorithm 1.
    """
    check_finite("APG", eta=eta, momentum=momentum)
    check_range("APG", above=True, cap=cap)
    plain = eta == 1 and momentum == 0 and cap is None
    rule = LINEAR if plain else Projected(eta, momentum, cap)
    return contrast("APG", base(negative), rule, weight, schedule, rescale)
