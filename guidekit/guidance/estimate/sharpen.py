"""Temperature and nucleus: sharpening the law of every token."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, Layer
from guidekit.core.prediction import Prediction
from guidekit.core.question import Denoise, Question
from guidekit.registry import register


@register("guidance", "sharpen")
@dataclasses.dataclass(frozen=True, eq=False)
class Sharpen(Guidance[None]):
    """Clean-token laws raised to the power 1 / temperature, then cut to the most probable tokens.

    Inside a contrast it acts on every branch, outside on their combination.

    Args:
        temperature: below 1 sharpens, 1 leaves the law.
        nucleus: least probability that the kept tokens must have together, in (0, 1]; the one that crosses it is kept.
        top_k: most tokens kept at a position; None keeps all.

    Raises:
        ValueError: settings outside their ranges.

    Source of the nucleus: Holtzman et al. 2019, arXiv:1904.09751.
    """

    temperature: float = 1.0
    nucleus: float = 1.0
    top_k: int | None = None
    layer = Layer.CONTRAST
    requires = frozenset({Fact.TOKENS})
    timeless = True

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be a number above 0, got {self.temperature}")
        if not 0 < self.nucleus <= 1:
            raise ValueError(f"nucleus must be above 0 and at most 1, got {self.nucleus}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        return inner(question).laws(self.sharpen)

    def sharpen(self, log_probs: Tensor) -> Tensor:
        """The sharpened law of log-probabilities (..., V)."""
        log_probs = torch.log_softmax(log_probs / self.temperature, -1)
        if self.nucleus == 1 and self.top_k is None:
            return log_probs
        order = log_probs.argsort(dim=-1, descending=True, stable=True)
        probs = log_probs.gather(-1, order).double().exp()
        keep = probs.cumsum(-1) - probs < self.nucleus
        if self.top_k is not None:
            keep[..., self.top_k :] = False
        kept = torch.zeros_like(keep).scatter(-1, order, keep)
        return torch.log_softmax(log_probs.masked_fill(~kept, -torch.inf), -1)
