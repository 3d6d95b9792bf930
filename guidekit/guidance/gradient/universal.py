"""Universal Guidance: a gradient through the network as a score, and the clean estimate optimized; steps repeated."""

from __future__ import annotations

from guidekit.core.guidance import Guidance, chain
from guidekit.core.objective import Objective
from guidekit.guidance.gradient.ascent import Ascent
from guidekit.guidance.gradient.engine import ALWAYS, GradientGuidance
from guidekit.guidance.gradient.losses import target
from guidekit.guidance.recurrence.engine import Recurrence
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.registry import register


@register("guidance", "universal")
def UniversalGuidance(  # noqa: N802 - a preset
    reward: Objective,
    scale: float = 1.0,
    backward: int = 0,
    rate: float = 0.1,
    optimizer: str = "plain",
    repeats: int = 1,
    window: tuple[float, float] = ALWAYS,
    loss: str = "nats",
) -> Guidance:
    """Universal guidance: noise + scale s grad_{x_t} of the loss (forward), clean estimate optimized (backward).

    Both start from the unguided estimate, and the noise of the step follows from the guided one. With repeats, every
    step is taken again from fresh noise. Where states are tokens, their law is tilted. At scale 1 a log-likelihood
    adds the score of p(y | E[x_0 | x_t]), which trusts the measurement too much where much noise is left.

    Args:
        reward: to be increased, differentiable; of a likelihood the loss is taken.
        scale: w, of the forward part; published ones run from 2 to 20,000, with the unit of the loss. 0 makes no graph.
        backward: m, optimization steps of the clean estimate; 0 is none.
        rate: of such a step.
        optimizer: of the backward part, "plain" or "adam".
        repeats: k, visits of every step.
        window: (from, to) times within which steps are repeated.
        loss: of a likelihood, see `DPS`.

    Raises:
        ValueError: settings outside their range; `UnknownNameError` for optimizers and losses.

    Source: Bansal et al. 2023, arXiv:2302.07121, algorithm 1.
    """
    guidance = GradientGuidance(
        target(reward, "UniversalGuidance", loss),
        scale,
        twist=reward if isinstance(reward, GaussianNoise) else None,
        place="score",
        ascent=Ascent(rate, backward, optimizer, keeps_noise=False) if backward else None,
        title="UniversalGuidance",
    )
    return guidance if repeats == 1 else chain(guidance, Recurrence(repeats, window=window))
