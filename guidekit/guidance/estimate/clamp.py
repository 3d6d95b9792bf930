"""Clean estimates kept within bounds: the projection of FGG and of hard box constraints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, Layer
from guidekit.core.population import Population
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question
from guidekit.core.requirements import Fact
from guidekit.core.sampler import Sampler
from guidekit.core.support import Support
from guidekit.objectives.verifiers import Verifier
from guidekit.registry import register

Bound = float | Tensor | Callable[[Tensor], Tensor] | None
"""A number, a tensor that broadcasts against states (B, *S), a function of clean estimates (B, *S) to one, or none."""


@register("guidance", "clamp")
@dataclasses.dataclass(frozen=True, eq=False)
class ClampCleanEstimate(Guidance[None]):
    """D' = min(max(D, lower), upper) where the mask is true; the noise then follows from x and D'.

    That is the nearest estimate within the bounds. Finished samples are clamped as well, so the bounds hold for every
    sample, whatever the last step adds. Numbers outside the mask are left alone; they change only as far as the network
    answers the clamped ones. Goes outside the guidance whose estimate is to obey: `chain(CFG, ClampCleanEstimate)`.

    Args:
        lower, upper: bounds in the unit of the data, see `Bound`; None is none. Infinite ones bound nothing.
        mask: where they hold: a bool tensor, or a function to one; None is everywhere.

    Raises:
        ValueError: bounds that are NaN, or leave nothing between them.

    Source: Huang et al. 2024, arXiv:2410.08435, the projection of its sampling control: e' = max(e, (x - a upper) / s).
    """

    lower: Bound = None
    upper: Bound = None
    mask: Tensor | Callable[[Tensor], Tensor] | None = None
    layer = Layer.ESTIMATE
    requires = frozenset({Fact.FLOW, Fact.WHOLE})
    timeless = True

    def __post_init__(self) -> None:
        """Check that something lies between numbers."""
        low, high = (value if isinstance(value, int | float) else None for value in (self.lower, self.upper))
        if any(value is not None and math.isnan(value) for value in (low, high)):
            raise ValueError(f"bounds must be numbers, got lower={low}, upper={high}")
        if low is not None and high is not None and low > high:
            raise ValueError(f"lower={low} is above upper={high}; nothing lies between them")

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Bounds must fit the prior's states."""
        shape = (1, *prior.event_shape)
        for key in ("lower", "upper", "mask"):
            value = getattr(self, key)
            try:
                fits = not isinstance(value, Tensor) or torch.broadcast_shapes(value.shape, shape)[1:] == shape[1:]
            except RuntimeError:
                fits = False
            if not fits:
                raise GuidanceError(
                    f"{key} has shape {tuple(value.shape)}, which does not broadcast against the states of this prior "
                    f"({prior.name}), (B, {', '.join(map(str, prior.event_shape))})"
                )

    def limits(self, mean: Tensor) -> tuple[Tensor | float | None, Tensor | float | None, Tensor | None]:
        """Lower and upper bounds and the mask, for clean estimates (B, *S)."""
        lower, upper, mask = (_evaluated(value, mean) for value in (self.lower, self.upper, self.mask))
        return lower, upper, mask

    def clamped(self, mean: Tensor) -> Tensor:
        """Clean estimates (B, *S) within the bounds."""
        lower, upper, mask = self.limits(mean)
        made = mean
        if lower is not None:
            made = torch.maximum(made, torch.as_tensor(lower, dtype=mean.dtype, device=mean.device))
        if upper is not None:
            made = torch.minimum(made, torch.as_tensor(upper, dtype=mean.dtype, device=mean.device))
        return made if mask is None else torch.where(mask, made, mean)

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""

        def bounded(support: Support, mean: Tensor) -> Tensor:
            return self.clamped(mean)

        return inner(question).map(bounded)

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`."""
        clamped = self.clamped(population.state)
        return population if torch.equal(clamped, population.state) else population.at(clamped)


@register("guidance", "fgg")
@dataclasses.dataclass(frozen=True, eq=False)
class FGG(ClampCleanEstimate):
    """Fine-grained guidance: what a verifier forbids stays below the threshold at which it would sound, at every step.

    With a rhythm, exactly so many notes begin at each time: the largest allowed onsets of the clean estimate are raised
    above the threshold, the others are lowered to it.

    Args:
        verifier: has `upper(states)`, a bound for every number of states (B, *S), infinite where nothing is forbidden;
            `load_domain("chorales").verifier(["outside C major"])` is one.
        rhythm: notes that begin at each time, None where any number may, repeated until the end; empty leaves them
            free. Its verifier has `onsets(states, rhythm)`, lower and upper bounds.

    Source: Huang et al. 2024, arXiv:2410.08435; rhythm as in the authors' code.
    """

    lower: Bound = dataclasses.field(default=None, init=False)
    upper: Bound = dataclasses.field(default=None, init=False)
    mask: Tensor | Callable[[Tensor], Tensor] | None = dataclasses.field(default=None, init=False)
    verifier: Verifier | None = None
    rhythm: Sequence[int | None] = ()

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """A verifier that gives bounds, for states of this shape."""
        super().check(prior, sampler, members)
        for name, what in (("upper", "bounds"), *((("onsets", "a rhythm"),) if self.rhythm else ())):
            if not hasattr(self.verifier, name):
                raise GuidanceError(
                    f"FGG needs a verifier with {what} for the states of this prior ({prior.name}), as that of the "
                    f"domain chorales; {type(self.verifier).__name__} has none"
                )
        zeros = torch.zeros(1, *prior.event_shape)
        verifier: Any = self.verifier
        made = verifier.upper(zeros)
        if made.shape[1:] != prior.event_shape:
            raise GuidanceError(
                f"the verifier bounds states {tuple(made.shape[1:])}, and this prior ({prior.name}) is of "
                f"{tuple(prior.event_shape)}"
            )
        if self.rhythm:
            self.limits(zeros)
        elif made.isinf().all():
            raise GuidanceError(
                "FGG has no rule to keep: give guidance.forbidden=[outside C major], guidance.rhythm=[4,0] or the like"
            )

    def limits(self, mean: Tensor) -> tuple[Tensor | None, Tensor, None]:
        """The verifier's bounds."""
        verifier: Any = self.verifier
        return (*verifier.onsets(mean, self.rhythm), None) if self.rhythm else (None, verifier.upper(mean), None)


def _evaluated(value: Any, mean: Tensor) -> Any:
    """A bound or mask for clean estimates, on their device."""
    if callable(value):
        value = value(mean)
    return value.to(mean.device) if isinstance(value, Tensor) else value
