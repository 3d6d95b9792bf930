"""Temperature and nucleus: sharpening the law of every token."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.processes import DiscreteProcess


@dataclasses.dataclass(frozen=True)
class Sharpen(Guidance):
    """Clean-token laws raised to the power 1 / temperature, then cut to the most probable tokens.

    Args:
        temperature: below 1 sharpens, 1 leaves the law.
        nucleus: least probability that the kept tokens must have together, in (0, 1]; the one that crosses it is kept.
        top_k: most tokens kept at a position; None keeps all.

    Source of the nucleus: Holtzman et al. 2019, arXiv:1904.09751.
    """

    temperature: float = 1.0
    nucleus: float = 1.0
    top_k: int | None = None
    timeless = True
    needs = ("tokens",)

    def __post_init__(self) -> None:
        """Refuse settings outside their ranges."""
        if self.temperature <= 0 or not 0 < self.nucleus <= 1 or (self.top_k is not None and self.top_k < 1):
            raise ValueError(
                f"temperature={self.temperature}, nucleus={self.nucleus}, top_k={self.top_k}: temperature is above 0, "
                "nucleus in (0, 1], top_k at least 1"
            )

    def check(self, run: Run) -> None:
        """Tokens only."""
        if not isinstance(run.prior.process, DiscreteProcess):
            raise GuidanceError(f"Sharpen acts on laws of tokens, and this prior ({run.prior.name}) has none")

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        prediction = inner(x, t, condition)
        return dataclasses.replace(prediction, log_probs=self.sharpen(prediction.log_probs))

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
