"""FreeDoM: steps measured by the noise, and time travel in the middle of the run."""

from __future__ import annotations

from guidekit.core.guidance import Guidance, chain
from guidekit.core.objective import Objective
from guidekit.guidance.gradient.engine import GradientGuidance
from guidekit.guidance.gradient.losses import target
from guidekit.guidance.recurrence.engine import Recurrence
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.registry import register


@register("guidance", "freedom")
def FreeDoM(  # noqa: N802 - a preset
    reward: Objective,
    scale: float = 0.02,
    repeats: int = 1,
    window: tuple[float, float] = (0.8, 0.5),
    loss: str = "norm",
) -> Guidance:
    """FreeDoM: after each step x_u moves along the gradient at x_t, by a share of the noise that the step takes away.

    The root mean square of the move is scale rms(noise) (s / a) c, with c the weight of the clean estimate in the step:
    one number for rewards of any unit. With repeats, steps in the window are taken again from fresh noise.

    Args:
        reward: to be increased, differentiable; of a likelihood the loss is taken.
        scale: share; .02 in the released code for pictures, of 1,000 steps of training.
        repeats: visits of every step in the window; 10 in the released code.
        window: (from, to) times of the steps that are repeated.
        loss: of a likelihood, see `DPS`; only the direction matters.

    Raises:
        ValueError: settings outside their range; `UnknownNameError` for the loss.

    Source: Yu et al. 2023, arXiv:2303.09833, algorithm 2 and the released code, whose root mean squares are over the
    whole batch; here they are per sample.
    """
    guidance = GradientGuidance(
        target(reward, "FreeDoM", loss),
        scale,
        twist=reward if isinstance(reward, GaussianNoise) else None,
        rule="noise_ratio",
        title="FreeDoM",
    )
    return guidance if repeats == 1 else chain(guidance, Recurrence(repeats, window=window))
