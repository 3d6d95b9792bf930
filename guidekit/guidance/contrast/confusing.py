"""Gradient-free classifier guidance: a classifier says which class to move away from, and how far."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, GuidanceError
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.contrast.branches import Branch, as_row, evaluate
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.schedules import Schedule
from guidekit.core.prior import Prior, Time


@dataclasses.dataclass(frozen=True)
class GFCG(Contrast):
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

    Source: reconstructed from Shenoy et al. 2024, arXiv:2411.15393.
    """

    classifier: Callable[[Tensor], Tensor]
    weight: float | Callable[[Time], Time] = 3.0
    confusion: str = "ratio"
    classes: Sequence[Any] | None = None
    weak: Prior | None = None
    schedule: Schedule | Sequence[float] | None = None
    needs = ("conditional prior and condition=", "classifier of clean states (Python)")

    def __post_init__(self) -> None:
        """Refuse an unknown measure."""
        if self.confusion not in ("ratio", "miss"):
            raise ValueError(f"confusion={self.confusion!r}; accepted: ratio, miss")

    def branches(self, run: Run) -> Sequence[Branch]:
        """The class to move away from is only known later."""
        return (Branch(prior=self.weak), Branch())

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        run = inner.run
        w = self.weight_at(t, run)
        positive = inner(x, t, condition)
        with torch.no_grad():
            scores = self.classifier(positive.clean.detach())
        table = self._table(run, scores.shape[-1])
        own, rival, share = confused(scores.double(), condition, table, self.confusion)
        if not own.all():
            raise GuidanceError(
                "GFCG needs every sample's condition to be one of the classifier's classes: give classes="
            )
        weight = 1 + (torch.as_tensor(w, device=share.device) - 1) * share
        rows = (weight > 1 + 1e-6).nonzero()[:, 0]
        if len(rows) == 0:
            return positive
        branch = Branch(lambda run, given, size: table[rival], self.weak)
        (base,) = evaluate(inner, x, t, condition, [branch], [rows if len(rows) < len(rival) else None])
        return self.combined(
            run, x, t, [base, positive], weight.to(_dtype(positive)), rows if len(rows) < len(rival) else None
        )

    def _table(self, run: Run, size: int) -> Tensor:
        rows = [as_row(run, value) for value in (range(size) if self.classes is None else self.classes)]
        if len(rows) != size:
            raise GuidanceError(f"GFCG: the classifier gave {size} scores for {len(rows)} classes")
        return torch.stack([torch.as_tensor(row) for row in rows]).to(run.device)


def _dtype(prediction: Prediction) -> torch.dtype:
    return (prediction.mean if hasattr(prediction, "mean") else prediction.log_probs).dtype


def confused(scores: Tensor, condition: Tensor, table: Tensor, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Whether (B,) the condition is in the table, the likeliest other class (B,), and the confusion in [0, 1], (B,)."""
    match = (condition[:, None] == table).flatten(2).all(2) if condition.ndim > 1 else condition[:, None] == table
    probs = torch.softmax(scores, -1)
    p_c = (probs * match).sum(-1)
    p_r, rival = probs.masked_fill(match, -1.0).max(-1)
    share = 1 - p_c if kind == "miss" else p_r / (p_r + p_c).clamp_min(1e-12)
    return match.any(-1), rival, share
