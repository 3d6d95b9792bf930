"""Training-free guidance (TFG), and two of its corners with names of their own: LGD-MC and MPGD."""

from __future__ import annotations

from guidekit.core.guidance import Guidance, chain
from guidekit.core.objective import Objective
from guidekit.guidance.gradient.ascent import Ascent
from guidekit.guidance.gradient.engine import ALWAYS, GradientGuidance
from guidekit.guidance.gradient.losses import target
from guidekit.guidance.gradient.rules import inverse_signal_of
from guidekit.guidance.gradient.smoothing import Smoothing
from guidekit.guidance.gradient.strength import Averaged
from guidekit.guidance.recurrence.engine import Recurrence
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.registry import register


@register("guidance", "tfg")
def TFG(  # noqa: N802 - a preset
    reward: Objective,
    rho: float = 0.25,
    mu: float = 0.25,
    gamma: float = 0.001,
    iterations: int = 4,
    repeats: int = 1,
    draws: int = 1,
    rho_schedule: str = "increase",
    mu_schedule: str = "increase",
    gamma_schedule: str = "decrease",
    window: tuple[float, float] = ALWAYS,
    loss: str = "norm",
) -> Guidance:
    """Training-free guidance: x_u moves along the gradient at x_t, and along that at the clean estimate.

    x_u = step(x_t) + rho_t / sqrt(alpha_t) grad_{x_t} f(E[x_0 | x_t]) + a_u (x_0' - x_0), with x_0' the clean estimate
    after `iterations` steps mu_t grad f, and f smoothed over noise. rho_t and mu_t have means rho and mu over the run.
    DPS, LGD, MPGD, FreeDoM and Universal Guidance are corners of it. A heuristic; no law is promised.

    Args:
        reward: to be increased, differentiable; of a likelihood the loss is taken.
        rho: of the gradient through the network; 0 makes no graph through it.
        mu: of the gradient at the clean estimate; 0 leaves it where it is.
        gamma: width of the noise that f is smoothed over; 0 is none.
        iterations: steps of the clean estimate.
        repeats: visits of every step (recurrence).
        draws: noises that f is smoothed over.
        rho_schedule, mu_schedule: "increase", "decrease" or "constant".
        gamma_schedule: "decrease" with the noise, or "constant".
        window: (from, to) times within which steps are repeated.
        loss: of a likelihood, see `DPS`.

    Raises:
        ValueError: settings outside their range; `UnknownNameError` for schedules and losses.

    Source: Ye et al. 2024, arXiv:2409.15761, algorithm 1; defaults are where the authors' search starts.
    """
    smoothing = Smoothing(draws, gamma, Averaged(1.0, gamma_schedule).kind == "decrease") if gamma else None
    guidance = GradientGuidance(
        target(reward, "TFG", loss),
        Averaged(rho, rho_schedule),
        twist=reward if isinstance(reward, GaussianNoise) else None,
        rule="training_free",
        ascent=Ascent(Averaged(mu, mu_schedule), iterations) if mu else None,
        smoothing=smoothing,
        title="TFG",
    )
    return guidance if repeats == 1 else chain(guidance, Recurrence(repeats, window=window))


@register("guidance", "lgd")
def LGD(  # noqa: N802 - a preset
    reward: Objective,
    scale: float = 1.0,
    draws: int = 10,
    width: float = 1.0,
    place: str = "score",
    loss: str = "nats",
) -> GradientGuidance:
    """Loss-guided diffusion: the score of log E exp(f), the mean over noise around the clean estimate.

    Of a linear Gaussian likelihood it tends to the score of PiGDM with many draws, slowly: at n = 10 and small noise of
    the measurement the nearest draw decides alone. The mean of f in place of the log of the mean of exp(f), which one
    reimplementation takes, is not this method: it is DPS.

    Args:
        reward: in nats, differentiable; of a likelihood the loss is taken.
        scale: of the score; 1 is that of log E exp(f). With place=after, displacement per unit of gradient.
        draws: n.
        width: of the noise, times s / sqrt(a^2 + s^2).
        place: "score", or "after" the step.
        loss: of a likelihood, see `DPS`.

    Raises:
        ValueError: settings outside their range; `UnknownNameError` for places and losses.

    Source: Song et al. 2023, Loss-Guided Diffusion Models for Plug-and-Play Controllable Generation (ICML), eq. 9.
    """
    objective = target(reward, "LGD", loss)
    twist = reward if isinstance(reward, GaussianNoise) else None
    smoothing = Smoothing(draws, width)
    return GradientGuidance(objective, scale, twist, place=place, smoothing=smoothing, title="LGD")


@register("guidance", "mpgd")
def MPGD(  # noqa: N802 - a preset
    reward: Objective, scale: float | None = None, loss: str = "residual"
) -> GradientGuidance:
    """Manifold-preserving guidance without an autoencoder: the clean estimate moves, the noise of the step stays.

    x_u = step(x_t) + a_u c grad f(x_0) at the clean estimate: no backward pass through the network. A heuristic that
    collapses onto the measurement.

    Args:
        reward: to be increased, differentiable; of a likelihood the loss is taken.
        scale: c, of a step; None is 1. For the norm it is divided by a_t, as in the released code.
        loss: of a likelihood, see `DPS`; "norm" is the released code's.

    Raises:
        UnknownNameError: no such loss.

    Source: He et al. 2023, arXiv:2311.16424, algorithm 1 without projection.
    """
    measured = isinstance(reward, GaussianNoise)
    per = inverse_signal_of if measured and loss == "norm" else None
    return GradientGuidance(
        target(reward, "MPGD", loss),
        0.0,
        twist=reward if measured else None,
        source="frozen",
        ascent=Ascent(1.0 if scale is None else scale, per=per),
        title="MPGD",
    )
