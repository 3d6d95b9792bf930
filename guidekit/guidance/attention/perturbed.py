"""Guidance away from a perturbed copy of the network: PAG, SEG, TPG, STG and S2-Guidance.

D = D_0 + w (D_c - D_0) + s (D_c - D_hat): D_hat is the network's answer to the same state and condition with its sites
perturbed. All branches are rows of one call; s = 0 is the prior, or CFG of weight w, bit for bit and at its cost.
"""

from __future__ import annotations

import math

from guidekit.errors import UnknownNameError
from guidekit.guidance.attention.plans import Marked, Plan
from guidekit.guidance.contrast.away import away
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.schedules import Schedules, Weight
from guidekit.guidance.contrast.settings import check_range
from guidekit.interventions.operators import (
    BlurQuery,
    Choice,
    DropAttention,
    DropBlock,
    DropFeed,
    IdentityAttention,
    ShuffleTokens,
)
from guidekit.registry import register

SKIPS = {"block": DropBlock, "attention": DropAttention, "feed": DropFeed, "map": IdentityAttention}


@register("guidance", "pag")
def PAG(  # noqa: N802 - a preset
    scale: Weight = 3.0,
    sites: Choice = "middle",
    weight: Weight = 1.0,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Perturbed-attention guidance: away from the network whose chosen self-attention maps are the identity.

    Args:
        scale: s, dimensionless; a number, or a function of t (number or (B,)).
        sites: self-attention sites, see `guidekit.interventions.choose`.
        weight: w of classifier-free guidance in the same call; 1 is without it.
        schedule: when the scale holds, see `CFG`; two numbers are an interval of noise levels.
        rescale: see `CFG`.

    Source: Ahn et al. 2024, arXiv:2403.17377, eq. 11 and 16.
    """
    return away("PAG", Marked(Plan((IdentityAttention(sites),))), scale, weight, schedule, rescale)


@register("guidance", "seg")
def SEG(  # noqa: N802
    scale: Weight = 3.0,
    sigma: float | None = None,
    sites: Choice = "middle",
    weight: Weight = 1.0,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Smoothed energy guidance: away from the network whose queries are smoothed along the grid of tokens.

    Args:
        scale: s; the strength is meant to be set by sigma.
        sigma: standard deviation in tokens; 0 is no perturbation, and null or infinity gives all tokens the mean query.
        sites, weight, schedule, rescale: see `PAG`.

    Raises:
        ValueError: sigma below 0.

    Source: Hong 2024, arXiv:2408.00760, algorithm 1.
    """
    blur = BlurQuery(math.inf if sigma is None else sigma, sites)
    return away("SEG", Marked(Plan((blur,))), scale, weight, schedule, rescale)


@register("guidance", "tpg")
def TPG(  # noqa: N802
    scale: Weight = 3.0,
    sites: Choice = "early",
    weight: Weight = 1.0,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Token perturbation guidance: away from the network whose tokens are shuffled before chosen blocks.

    Every sample has an order of its own at every site and step.

    Args:
        scale: s, see `PAG`.
        sites: units with tokens as input; "early" is the way down of a U-Net, the first half of a transformer.
        weight, schedule, rescale: see `PAG`.

    Source: Rajabi et al. 2025, arXiv:2506.10036, section 4.
    """
    return away("TPG", Marked(Plan((ShuffleTokens(sites),))), scale, weight, schedule, rescale)


@register("guidance", "stg")
def STG(  # noqa: N802
    scale: Weight = 1.0,
    sites: Choice = "middle",
    skip: str = "block",
    weight: Weight = 1.0,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Skip guidance: away from the network without chosen blocks (STG-R, SLG), or without what is inside them.

    Args:
        scale: s, see `PAG`.
        sites: blocks, see `guidekit.interventions.choose`; which ones help depends on the network, the first and the
            last usually do not.
        skip: "block", "attention" (the branch adds nothing), "feed", or "map" (the identity as attention map, STG-A).
        weight, schedule, rescale: see `PAG`.

    Raises:
        UnknownNameError: no such part to skip.

    Source: Hyung et al. 2024, arXiv:2411.18664, eq. 7-9; its rescaling is per sample here.
    """
    if skip not in SKIPS:
        raise UnknownNameError("part of a block to skip", str(skip), SKIPS)
    return away("STG", Marked(Plan((SKIPS[skip](sites=sites),))), scale, weight, schedule, rescale)


@register("guidance", "s2_guidance")
def S2Guidance(  # noqa: N802
    scale: Weight = 0.25,
    rate: float = 0.1,
    sites: Choice = "inner",
    weight: Weight = 1.0,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Stochastic self-guidance: away from the network without blocks that are drawn anew for every sample and step.

    Args:
        scale: omega.
        rate: share of the blocks left out, rounded to whole ones and at least one above 0; 0 is CFG.
        sites: blocks to draw from; "inner" spares the first and the last.
        weight, schedule, rescale: see `PAG`.

    Raises:
        ValueError: a rate outside [0, 1].

    Source: Chen et al. 2025, arXiv:2508.12880, eq. 8, in the form whose coefficients sum to one.
    """
    check_range("S2Guidance", 0.0, 1.0, rate=rate)
    plan = Plan((DropBlock(rate, sites),))
    return away("S2Guidance", Marked(plan), scale if rate else 0.0, weight, schedule, rescale)


__all__ = ["PAG", "SEG", "STG", "TPG", "S2Guidance"]
