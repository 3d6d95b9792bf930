"""Linear contrast between branches: classifier-free guidance and negative conditions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError
from guidekit.core.population import Time
from guidekit.core.predictions import CategoricalPrediction, Prediction
from guidekit.core.run import Run
from guidekit.core.state import State, right_pad, tree_batch, tree_map


def contrast(base: Prediction, positive: Prediction, weight: Tensor | float) -> Prediction:
    """base + weight (positive - base): of posterior means, or of log-probabilities normalised again.

    weight is a number or (B,). A token that is impossible in either branch is impossible; where that leaves none, the
    positive branch stands.
    """
    parts = {"base": base, "positive": positive}
    if isinstance(base, CategoricalPrediction):
        w = right_pad(weight, base.log_probs)
        mixed = base.log_probs + w * (positive.log_probs - base.log_probs)
        mixed = mixed.masked_fill(base.log_probs.isneginf() | positive.log_probs.isneginf(), -torch.inf)
        return dataclasses.replace(base, log_probs=normalised(mixed, positive.log_probs), parts=parts)
    w = right_pad(weight, base.mean)
    return dataclasses.replace(base, mean=base.mean + w * (positive.mean - base.mean), parts=parts)


def normalised(log_weights: Tensor, otherwise: Tensor) -> Tensor:
    """log_weights (..., V) as log-probabilities; `otherwise` (..., V) where no entry is finite."""
    empty = log_weights.isneginf().all(-1, keepdim=True)
    return torch.where(empty, otherwise, torch.log_softmax(log_weights, -1))


@dataclasses.dataclass(frozen=True)
class CFG(Guidance):
    """Classifier-free guidance D = D_0 + w (D_c - D_0); with a negative condition n, D = D_n + w (D_c - D_n).

    w = 1 is the conditional model and w = 0 the base, each with one network call; other weights join both branches in
    one call. On tokens the rule acts on log p(x_0 | z) at every position and normalises again (D-CFG).

    Args:
        weight: w, dimensionless; a number, or a function of t (number or (B,)) for a schedule.
        negative: condition to move away from, one row without the batch, or what `Prior.condition` takes (the name of a
            label's value); None is the null condition.

    Source: Ho & Salimans 2022, arXiv:2207.12598, with w = 1 + (their weight); Liu et al. 2022, arXiv:2206.01714, for
    conditions in place of the null; tokens: Schiff et al. 2024, arXiv:2412.10193, with w = gamma.
    """

    weight: float | Callable[[Time], Time] = 2.0
    negative: State | None = None
    needs = ("conditional prior and condition=",)

    @property
    def time_independent(self) -> bool:
        """True for a constant weight."""
        return not callable(self.weight)

    def check(self, run: Run) -> None:
        """CFG contrasts a condition with its absence: both must exist."""
        if run.prior.null_condition is None:
            raise GuidanceError(f"CFG needs a conditional prior, and this one ({run.prior.name}) takes no condition")
        if run.condition is None:
            raise GuidanceError("CFG needs a condition to guide towards: give condition=")
        self._negative(run)

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        w = self.weight(t) if callable(self.weight) else self.weight
        if isinstance(w, float | int) and w == 1:
            return inner(x, t, condition)
        negative = self._negative(inner.run)
        if negative is not None:
            size = tree_batch(x)
            negative = tree_map(lambda leaf: leaf.to(inner.run.device).expand(size, *leaf.shape), negative)
        if isinstance(w, float | int) and w == 0:
            return inner(x, t, negative)
        base, positive = inner.branches(x, t, [negative, condition])
        return contrast(base, positive, w)

    def _negative(self, run: Run) -> State | None:
        """The negative condition as one row without the batch."""
        given = self.negative
        if given is None:
            return None
        if getattr(run.prior, "labels", ()):
            return run.prior.condition(given)[0]
        return torch.tensor(given) if isinstance(given, int) else given
