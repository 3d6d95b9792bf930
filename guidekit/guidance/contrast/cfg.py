"""Classifier-free guidance, in an interval of noise levels, and what re-weighs its direction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from torch import Tensor

from guidekit.core.guidance import Denoiser, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.contrast import rules
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, Branch, Given
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.linear import linear
from guidekit.guidance.contrast.rules import Function, Projected, Rule
from guidekit.guidance.contrast.schedules import Interval, Schedule, step_of

STRAIGHT = ("GeometricVE", "KarrasVE", "LinearFlow")
"""Schedules whose probability flow has no velocity where the clean estimate is the state."""


@dataclasses.dataclass(frozen=True)
class CFG(Contrast):
    """Classifier-free guidance D = D_0 + w (D_c - D_0); with a negative condition n, D = D_n + w (D_c - D_n).

    w = 1 is the conditional model and w = 0 the base, each with one network call; other weights join both branches in
    one call. On tokens the rule acts on log p(x_0 | z) at every position and normalises again (D-CFG).

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

    weight: float | Callable[[Time], Time] = 2.0
    negative: State | None = None
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("conditional prior and condition=",)

    def __post_init__(self) -> None:
        """Refuse a share outside its range."""
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"rescale={self.rescale}; accepted: 0 (none) to 1")

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null or negative condition, and the condition."""
        return (UNCONDITIONAL if self.negative is None else Branch(Given(self.negative)), CONDITIONAL)


def CFGRescale(  # noqa: N802 - a preset
    weight: float = 7.5, rescale: float = 0.7, negative: State | None = None, schedule: Schedule | None = None
) -> CFG:
    """`CFG`, with the standard deviation of every sample brought back to that of the conditional prediction.

    Args:
        weight, negative, schedule: see `CFG`.
        rescale: phi; 0 is CFG, 1 gives exactly the conditional standard deviation, in v space.

    Source: Lin et al. 2023, arXiv:2305.08891, section 3.4.
    """
    return CFG(weight, negative, schedule, rescale)


def GuidanceInterval(  # noqa: N802 - a preset
    weight: float = 2.0, low: float = 0.0, high: float = 3.0, by: str = "sigma", negative: State | None = None
) -> CFG:
    """`CFG` at noise levels low < s / a <= high, the conditional model alone at others: one branch there, not two.

    Args:
        weight, negative: see `CFG`.
        low, high: noise levels, in the unit of the data; for tokens the share that is lost, in [0, 1].
        by: "sigma", or "log_snr" for levels as log(a^2 / s^2).

    Source: Kynkaanniemi et al. 2024, arXiv:2404.07724.
    """
    return CFG(weight, negative, Interval(low, high, by))


@dataclasses.dataclass(frozen=True)
class APG(CFG):
    """Adaptive projected guidance: D_c + (w - 1) (d' + eta d''), d'' the part of the direction along D_c.

    The direction d = D_c - D_0 gets momentum, then a cap on its length, then it is split. With eta = 1, no momentum and
    no cap it is `CFG` bit for bit. Acts on clean estimates; of tokens on centred logits.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        eta: factor of the parallel part; 0 takes it away.
        momentum: beta, factor of the direction used a step before, usually negative; kept with its particle.
        cap: greatest root mean square of the direction (the source's radius over the square root of the dimension).

    Source: Sadat et al. 2024, arXiv:2410.02416, algorithm 1.
    """

    eta: float = 0.0
    momentum: float = -0.5
    cap: float | None = None

    @property
    def per_sample(self) -> bool:
        """Momentum belongs to a sample."""
        return self.momentum != 0

    def rule(self, run: Run) -> Rule:
        """See `Projected`."""
        return Projected(self.eta, self.momentum, self.cap)


@dataclasses.dataclass(frozen=True)
class TCFG(CFG):
    """Tangential damping: CFG from the base projected onto the leading singular direction of both predictions.

    Acts on noise predictions; of tokens on centred logits. Without effect where a state is one number.

    Args:
        weight, negative, schedule, rescale: see `CFG`.

    Source: Kwon et al. 2025, arXiv:2503.18137, algorithm 1.
    """

    def rule(self, run: Run) -> Rule:
        """See `rules.damped`."""
        return Function(lambda views, w: linear(rules.damped(*views), views[1], w), "eps")


@dataclasses.dataclass(frozen=True)
class CFGZero(CFG):
    """CFG-Zero*: CFG from the base scaled to be nearest to the conditional velocity, after steps that do not move.

    The first steps have velocity zero, which leaves the state where the flow variable is s (rectified flow,
    variance-exploding); on other processes, and on tokens, choose zero_steps=0.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        zero_steps: first steps without movement.

    Source: Fan et al. 2025, arXiv:2503.18886, eq. 9 and algorithm 1.
    """

    zero_steps: int = 0

    @property
    def timeless(self) -> bool:
        """False with steps that do not move."""
        return self.zero_steps == 0 and Contrast.timeless.fget(self)

    def check(self, run: Run) -> None:
        """Steps without movement need a velocity."""
        super().check(run)
        if self.zero_steps and type(getattr(run.prior.process, "schedule", None)).__name__ not in STRAIGHT:
            raise GuidanceError(
                f"velocity zero leaves no state of this prior ({run.prior.name}) where it is: give zero_steps=0"
            )

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`; in the first steps the clean estimate is the state itself, and nothing is asked."""
        run = inner.run
        start = t if run.schedule_time is None else run.schedule_time
        if self.zero_steps and not isinstance(start, Tensor) and step_of(run, start) < self.zero_steps:
            return run.prior.process.prediction(x, x, t)
        return super().denoise(inner, x, t, condition)

    def rule(self, run: Run) -> Rule:
        """See `rules.optimal_scale`."""
        return Function(lambda views, w: linear(rules.optimal_scale(*views) * views[0], views[1], w), "flow")


@dataclasses.dataclass(frozen=True)
class MagnitudeAware(CFG):
    """MAMBO-G: CFG with the weight 1 + (w - 1) exp(-alpha ||d|| / ||D_0||) of every sample, in velocity space.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        alpha: how soon a large direction is damped; 0 is CFG.

    Source: Zhu et al. 2025, arXiv:2508.03442; the formula as in a released implementation, in the network's own output
    space there.
    """

    alpha: float = 8.0

    def rule(self, run: Run) -> Rule:
        """See `rules.magnitude_weight`."""

        def damp(views: Sequence[Tensor], w: Time) -> Tensor:
            base, positive = views
            return base + rules.magnitude_weight(base, positive, w, self.alpha) * (positive - base)

        return Function(damp, "flow")


@dataclasses.dataclass(frozen=True)
class CFGRenorm(CFG):
    """CFG whose velocity is no longer than `most` times the conditional one.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        most: greatest ratio of lengths.

    Source: the rule of Lumina-Image 2.0 (Qin et al. 2025, arXiv:2503.21758), as in released code; for most >= 1.
    """

    most: float = 1.0

    def rule(self, run: Run) -> Rule:
        """See `rules.renormalised`."""
        cap = lambda views, w: rules.renormalised(linear(views[0], views[1], w), views[1], self.most)  # noqa: E731
        return Function(cap, "flow", neutral=self.most >= 1)


__all__ = ["APG", "CFG", "TCFG", "CFGRenorm", "CFGRescale", "CFGZero", "GuidanceInterval", "MagnitudeAware"]
