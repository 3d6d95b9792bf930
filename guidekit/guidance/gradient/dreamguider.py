"""Dreamguider: no backward pass through the network, and a scale that sets itself."""

from __future__ import annotations

from guidekit.core.objective import Objective
from guidekit.guidance.gradient.engine import GradientGuidance
from guidekit.guidance.gradient.losses import target
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.registry import register


@register("guidance", "dreamguider")
def Dreamguider(  # noqa: N802 - a preset
    reward: Objective, scale: float = 1.0, loss: str = "residual"
) -> GradientGuidance:
    """No backward pass through the network: the gradient at the clean estimate acts as a score.

    The clean estimate moves by scale rms(noise) s / sqrt(a^2 + s^2) along it and the noise follows: a share of what is
    still unknown, whatever the unit of the loss. Right at low noise, where the network's Jacobian is 1 / a; too far
    in directions that the network knows better at high noise.

    Args:
        reward: to be increased, differentiable; of a likelihood the loss is taken.
        scale: share.
        loss: of a likelihood, see `DPS`.

    Raises:
        UnknownNameError: no such loss.

    Source: Nair & Patel 2024, arXiv:2406.02549; the project page tells the two gradients, not the factors.
    Its random augmentations of both sides of a loss belong into the objective and are left out.
    """
    objective = target(reward, "Dreamguider", loss)
    return GradientGuidance(
        objective,
        scale,
        twist=reward if isinstance(reward, GaussianNoise) else None,
        source="frozen",
        place="score",
        rule="automatic",
        title="Dreamguider",
    )
