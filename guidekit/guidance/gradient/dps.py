"""Diffusion posterior sampling."""

from __future__ import annotations

import dataclasses

from guidekit.core.objective import Objective
from guidekit.guidance.gradient.engine import ALWAYS, GradientGuidance
from guidekit.guidance.gradient.losses import target
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.registry import register

NORM_SCALE = 0.3
"""zeta of the norm form for pictures in [-1, 1] and 1,000 ancestral steps of a variance-preserving process."""


@register("guidance", "dps")
def DPS(  # noqa: N802 - a preset
    likelihood: Objective, scale: float | None = None, loss: str = "residual"
) -> GradientGuidance:
    """Diffusion posterior sampling: after each step x_u moves along the gradient at x_t of the fit of E[x_0 | x_t].

    A heuristic: it enforces the measurement whatever its noise, so it is narrower than the posterior. Norms are taken
    per sample; the released code takes one over the whole batch. Inside a particle filter the gradient of the
    likelihood tilts the kernels, and the pair is twisted sequential Monte Carlo, exact.

    Args:
        likelihood: of a measurement; any other differentiable objective is climbed as it is.
        scale: zeta. None is 1, or .3 for the norm. In steps of the residual it is counted in x / a, as if the process
            were variance exploding: times a_t a_u for others.
        loss: "residual", -||y - A x_0||^2 / (2 |A|^2), whose steps get shorter where the measurement is met; "norm",
            -||y - A x_0||, as published, whose steps do not; "nats", log p(y | x_0).

    Raises:
        UnknownNameError: no such loss.

    Source: Chung et al. 2022, arXiv:2209.14687, algorithm 1; the norm is the released code's.
    """
    objective = target(likelihood, "DPS", loss)
    if not isinstance(likelihood, GaussianNoise):
        return GradientGuidance(objective, 1.0 if scale is None else scale, title="DPS")
    if scale is None:
        scale = NORM_SCALE if loss == "norm" else 1.0
    rule = "exploding" if loss == "residual" else None
    return GradientGuidance(objective, scale, twist=likelihood, rule=rule, title="DPS")


@register("guidance", "sparse_gradient")
def SparseGradient(  # noqa: N802 - a preset
    likelihood: Objective,
    scale: float | None = None,
    every: int = 3,
    window: tuple[float, float] = ALWAYS,
    reuse: bool = False,
    loss: str = "residual",
) -> GradientGuidance:
    """DPS whose gradient is taken in every third step only.

    Any gradient guidance is made sparse the same way: `sparse(guidance, every, window)`. With every=1 and the whole
    window it is what it was, bit for bit.

    Args:
        likelihood, scale, loss: as in `DPS`.
        every: steps from one gradient to the next.
        window: (from, to) times, 1 is noise; outside neither gradient nor graph is made.
        reuse: steps between move along the last gradient again. Keeps the strength of rewards with small scales; a
            likelihood's steps at the default scale overshoot what is measured.

    Source: the aim of "Conditional Image Generation with Pretrained Generative Model", which says what it saves but not
    how; stride, window and reuse are this library's.
    """
    made = sparse(DPS(likelihood, scale, loss), every, window, reuse)
    return dataclasses.replace(made, title="SparseGradient")


@register("tool", "sparse")
def sparse(
    guidance: GradientGuidance, every: int = 3, window: tuple[float, float] = ALWAYS, reuse: bool = False
) -> GradientGuidance:
    """A gradient guidance that takes its gradient in every so many steps of a window; see `SparseGradient`."""
    return dataclasses.replace(guidance, every=every, window=window, reuse=reuse)
