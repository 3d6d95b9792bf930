"""Gradient-free classifier guidance: a classifier says which class to move away from, and how far."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, Layer
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, take
from guidekit.guidance.contrast import CONDITIONS, Schedules, Weight, scheduled
from guidekit.guidance.contrast.branches import check_prior, known_rows
from guidekit.guidance.contrast.engine import spliced
from guidekit.registry import register

MEASURES = ("ratio", "miss")


@register("guidance", "gfcg")
@dataclasses.dataclass(frozen=True, eq=False)
class GFCG(Guidance[None]):
    """D_r + w_t (D_c - D_r), with r the class a classifier confuses c with, and w_t the larger the more it does.

    w_t = 1 + (w - 1) h(p) for the probabilities p of the clean estimate D_c and h = p_r / (p_r + p_c), or 1 - p_c. The
    classifier is run forward only, on clean estimates; no gradient is taken, so it may be anything. Two calls a step.

    Args:
        classifier: clean states (B, *S) -> scores (B, K), logits or log-probabilities.
        weight: w, reached where the classifier is wrong.
        confusion: "ratio" (p_r / (p_r + p_c)) or "miss" (1 - p_c); the source's function is not verified.
        classes: conditions of the K scores, each what `Prior.condition` takes; None is 0 .. K - 1.
        weak: prior asked for class r, see `Autoguidance`; None is the prior itself.
        schedule: see `CFG`. Clean estimates at high noise are blurred: guide below a noise level.

    Raises:
        ValueError: an unknown measure, a weight that is no finite number.

    Source: reconstructed from Shenoy et al. 2024, arXiv:2411.15393.
    """

    classifier: Callable[[Any], Tensor]
    weight: Weight = 3.0
    confusion: str = "ratio"
    classes: Sequence[Any] | None = None
    weak: Prior | None = None
    schedule: Schedules = None
    layer = Layer.CONTRAST
    requires = CONDITIONS

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.confusion not in MEASURES:
            raise ValueError(f"confusion={self.confusion!r}; accepted: {', '.join(MEASURES)}")
        scheduled("GFCG", self.weight, self.schedule)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The other prior must fit, and the prior know the classes."""
        if self.weak is not None:
            check_prior("GFCG", prior, self.weak)
        known_rows("GFCG", prior, self.classes or ())
        if self.classes is None and prior.null_condition is not None and prior.null_condition.is_floating_point():
            raise GuidanceError(
                f"GFCG does not know the classes of this prior ({prior.name}), whose conditions have no numbers: give "
                "classes="
            )

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`; the class to move away from is asked for where it is not certain that it is none."""
        given, own = scheduled("GFCG", self.weight, self.schedule), inner(question)
        with torch.no_grad():
            scores = self.classifier(own.clean)
        table = self.table(question.prior, scores)
        known, rival, share = confused(scores.double(), question.condition, table, self.confusion)
        if not known.all():
            raise GuidanceError(
                "GFCG needs every sample's condition to be one of the classifier's classes: give classes="
            )
        weight = 1 + ((given(question) if callable(given) else given) - 1) * share
        rows = (weight > 1 + 1e-6).nonzero()[:, 0]
        if len(rows) == 0:
            return own
        asked = altered(question.take(rows), condition=table[rival[rows]])
        base = inner(asked if self.weak is None else altered(asked, prior=self.weak))
        return spliced(own, rows, base.lerp(take(own, rows), weight[rows]), question, self)

    def table(self, prior: Prior, scores: Tensor) -> Tensor:
        """The conditions of all scores (B, K), (K, ...)."""
        size = scores.shape[-1]
        rows = known_rows("GFCG", prior, range(size) if self.classes is None else self.classes)
        if len(rows) != size:
            raise GuidanceError(f"GFCG: the classifier gave {size} scores for {len(rows)} classes")
        return torch.cat(rows).to(scores.device)


def confused(scores: Tensor, condition: Tensor, table: Tensor, measure: str) -> tuple[Tensor, Tensor, Tensor]:
    """Whether (B,) the condition is in the table, the likeliest other class (B,), and the confusion in [0, 1], (B,)."""
    match = (condition[:, None] == table).flatten(2).all(2) if condition.ndim > 1 else condition[:, None] == table
    probs = torch.softmax(scores, -1)
    p_c = (probs * match).sum(-1)
    p_r, rival = probs.masked_fill(match, -1.0).max(-1)
    share = 1 - p_c if measure == "miss" else p_r / (p_r + p_c).clamp_min(1e-12)
    return match.any(-1), rival, share
