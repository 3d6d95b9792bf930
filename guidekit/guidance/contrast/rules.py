"""Rules that combine branches: pure functions of tensors (B, *S), one sample a row.

Every sum runs over one sample, never over the batch. A rule names the space it acts in (`guidekit.guidance.contrast.
spaces`); on tokens all act on vocabulary-centred logits, where padding and known tokens are zero in every branch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from guidekit.core.state import column
from guidekit.guidance.contrast.linear import linear

if TYPE_CHECKING:
    from guidekit.core.prior import Time
from guidekit.core.prediction import Prediction
    from guidekit.core.run import Run

TINY = 1e-12


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of every sample, (B, 1, ..., 1)."""
    return column((a * b).flatten(1).sum(1), a)


def norm(a: Tensor) -> Tensor:
    """Euclidean length of every sample, (B, 1, ..., 1)."""
    return column(a.flatten(1).norm(dim=1), a)


def ratio(a: Tensor, b: Tensor, otherwise: float = 0.0) -> Tensor:
    """a / b, and `otherwise` where b is not above zero; b is non-negative."""
    return torch.where(b > TINY, a / b.clamp_min(TINY), otherwise)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between two predictions of every sample, (B, 1, ..., 1); 1 where one of them is zero."""
    return ratio(dot(a, b), norm(a) * norm(b), 1.0)


def along(a: Tensor, b: Tensor) -> Tensor:
    """The part of a that is parallel to b."""
    return ratio(dot(a, b), dot(b, b)) * b


def projected(
    step: Tensor, positive: Tensor, weight: Tensor | float, parallel: float, cap: float | None = None
) -> Tensor:
    """positive + (w - 1) (perpendicular + parallel * along) of a step, whose length is capped first.

    Args:
        step: positive - base, with momentum where there is one.
        positive: prediction the step is split along.
        weight: w, number or (B,).
        parallel: eta, factor of the parallel part.
        cap: greatest root mean square of the step, in the unit of the space; None is no cap.

    Source: Sadat et al. 2024, arXiv:2410.02416, algorithm 1.
    """
    if cap is not None:
        step = step * ratio(torch.full_like(norm(step), cap * step[0].numel() ** 0.5), norm(step), 1.0).clamp_max(1.0)
    part = along(step, positive)
    return positive + (column(weight, step) - 1) * (step - part + parallel * part)


def damped(base: Tensor, positive: Tensor) -> Tensor:
    """The base, projected onto the leading singular direction of the two predictions stacked (2 x N, not centred).

    The direction follows from the 2 x 2 matrix of inner products.

    Source: Kwon et al. 2025, arXiv:2503.18137, algorithm 1.
    """
    p, q, r = dot(positive, positive), dot(positive, base), dot(base, base)
    angle = 0.5 * torch.atan2(2 * q, p - r)  # of the leading eigenvector, in the plane of (positive, base)
    return along(base, angle.cos() * positive + angle.sin() * base)


def optimal_scale(base: Tensor, positive: Tensor) -> Tensor:
    """s* = <positive, base> / ||base||^2, the multiple of the base that is nearest to the positive; (B, 1, ..., 1).

    Source: Fan et al. 2025, arXiv:2503.18886, eq. 9.
    """
    return ratio(dot(positive, base), dot(base, base))


def perpendicular(base: Tensor, positive: Tensor, negatives: Sequence[Tensor], weight: Time, strength: float) -> Tensor:
    """base + w (p - b sum_j n_j'), with p and n_j the directions from the base and n_j' orthogonal to p.

    Source: Armandpour et al. 2023, arXiv:2304.04968, eq. 8.
    """
    direction = positive - base
    for negative in negatives:
        away = negative - base
        direction = direction - strength * (away - along(away, positive - base))
    return base + column(weight, base) * direction


def rescaled(guided: Tensor, positive: Tensor, share: float) -> Tensor:
    """The guided prediction with `share` of its excess standard deviation over the positive one taken back.

    Source: Lin et al. 2023, arXiv:2305.08891, eq. 15-16; per sample.
    """
    spread = [x.flatten(1).std(1, correction=0) for x in (positive, guided)]
    factor = column(ratio(*spread, 1.0), guided)
    return guided * (share * factor + 1 - share)


def thresholded(x0: Tensor, quantile: float, most: float | None = None) -> Tensor:
    """Clean estimates cut at a quantile of their absolute values and divided by it; at 1 where that is below 1.

    Args:
        x0: (B, *S), data in [-1, 1].
        quantile: in (0, 1].
        most: greatest cut, at least 1; None is any.

    Source: Saharia et al. 2022, arXiv:2205.11487, section 2.3.
    """
    cut = torch.quantile(x0.float().abs().flatten(1), quantile, dim=1).to(x0).clamp_min(1.0)
    cut = column(cut if most is None else cut.clamp_max(most), x0)
    return torch.minimum(torch.maximum(x0, -cut), cut) / cut


def magnitude_weight(base: Tensor, positive: Tensor, weight: Time, alpha: float) -> Tensor:
    """1 + (w - 1) exp(-alpha ||positive - base|| / ||base||), (B, 1, ..., 1).

    Source: Zhu et al. 2025, arXiv:2508.03442.
    """
    size = ratio(norm(positive - base), norm(base), torch.inf)
    return 1 + (column(weight, base) - 1) * torch.exp(-alpha * size)


def renormalised(guided: Tensor, positive: Tensor, most: float) -> Tensor:
    """The guided prediction, no longer than `most` times the positive one."""
    return guided * ratio(most * norm(positive), norm(guided), 1.0).clamp_max(1.0)


def diverging(whole: Tensor, concepts: Sequence[Tensor], tolerance: float) -> tuple[Tensor, Tensor]:
    """Which concepts the direction of the whole condition neglects.

    Args:
        whole: direction of the whole condition, (B, *S).
        concepts: directions of its concepts.
        tolerance: how far below their mean a cosine may be.

    Returns:
        cosines (B, K) and whether each is below the mean by more than the tolerance, (B, K) bool.
    """
    cosines = torch.stack([cosine(whole, concept).flatten() for concept in concepts], 1)
    return cosines, cosines < cosines.mean(1, keepdim=True) - tolerance


# Rules -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Context:
    """What a rule may look at beside the predictions, and where it leaves what it wants to remember.

    Attributes:
        run: the execution.
        x: noisy states (B, *S).
        t: their time, number or (B,).
        name: of the plug, unique in the run.
        views: the predictions as they were answered, with their parts.
        rows: which samples (N,) all but the positive one were asked about, None for all.
        new: what is to be remembered.
    """

    run: Run
    x: Tensor
    t: Time
    name: str
    views: Sequence[Prediction] = ()
    rows: Tensor | None = None
    new: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def recall(self, key: str) -> Tensor | None:
        """What was remembered of these samples, (B, ...), or None."""
        return self.run.recall(f"{self.name} {key}", len(self.x))

    def remember(self, key: str, value: Tensor) -> None:
        """Keep a tensor (B, ...) with its particles until the next prediction."""
        self.new[f"{self.name} {key}"] = value


class Rule:
    """Base of the rules: (views, w, context) -> a tensor like the views, which are base, positive and others."""

    space: ClassVar[str] = "x0"
    linear: ClassVar[bool] = False
    """Whether it is base + w (positive - base), so that weight 0 is the base."""
    neutral: ClassVar[bool] = True
    """Whether weight 1 is the positive branch."""

    def __call__(self, views: Sequence[Tensor], w: Time, context: Context) -> Tensor:
        """The combined prediction in the rule's space."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement __call__(views, w, context)")


@dataclasses.dataclass(frozen=True)
class Linear(Rule):
    """base + w (positive - base).

    Args:
        neutral: False where the base is needed at w = 1 as well.
    """

    neutral: bool = True
    linear = True

    def __call__(self, views: Sequence[Tensor], w: Time, context: Context) -> Tensor:
        """See `Rule`."""
        return linear(views[0], views[1], w)


@dataclasses.dataclass(frozen=True)
class Function(Rule):
    """A rule from a function of (views, w).

    Args:
        function: (views, w) -> tensor.
        space: it acts in.
        neutral: whether w = 1 gives the positive branch.
    """

    function: Callable[[Sequence[Tensor], Time], Tensor]
    space: str = "x0"
    neutral: bool = True

    def __call__(self, views: Sequence[Tensor], w: Time, context: Context) -> Tensor:
        """See `Rule`."""
        return self.function(views, w)


@dataclasses.dataclass(frozen=True)
class Projected(Rule):
    """See `projected`; the step has momentum: step + momentum * (the step used before)."""

    parallel: float = 0.0
    momentum: float = 0.0
    cap: float | None = None

    @property
    def linear(self) -> bool:
        """With nothing taken away it is the linear rule."""
        return self.parallel == 1 and self.momentum == 0 and self.cap is None

    def __call__(self, views: Sequence[Tensor], w: Time, context: Context) -> Tensor:
        """See `Rule`."""
        base, positive = views[:2]
        if self.linear:
            return linear(base, positive, w)
        step = positive - base
        if self.momentum:
            before = context.recall("momentum")
            step = step if before is None else step + self.momentum * before.to(step)
            context.remember("momentum", step)
        return projected(step, positive, w, self.parallel, self.cap)
