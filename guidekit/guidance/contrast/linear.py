"""The linear contrast of two beliefs, of which every classifier-free rule is a variant."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.prediction import CategoricalPrediction, Prediction
from guidekit.core.state import column


def contrast(base: Prediction, positive: Prediction, weight: Tensor | float) -> Prediction:
    """base + weight (positive - base): of posterior means, or of log-probabilities normalised again.

    weight is a number or (B,). A token that is impossible in either branch is impossible; where that leaves none, the
    positive branch stands.
    """
    parts = {"base": base, "positive": positive}
    if isinstance(base, CategoricalPrediction):
        w = column(weight, base.log_probs)
        mixed = base.log_probs + w * (positive.log_probs - base.log_probs)
        mixed = mixed.masked_fill(base.log_probs.isneginf() | positive.log_probs.isneginf(), -torch.inf)
        return dataclasses.replace(base, log_probs=normalised(mixed, positive.log_probs), parts=parts)
    return dataclasses.replace(base, mean=linear(base.mean, positive.mean, weight), parts=parts)


def linear(base: Tensor, positive: Tensor, weight: Tensor | float) -> Tensor:
    """base + weight (positive - base), all (B, *S); weight a number or (B,)."""
    return base + column(weight, base) * (positive - base)


def normalised(log_weights: Tensor, otherwise: Tensor) -> Tensor:
    """log_weights (..., V) as log-probabilities; `otherwise` (..., V) where no entry is finite."""
    empty = log_weights.isneginf().all(-1, keepdim=True)
    return torch.where(empty, otherwise, torch.log_softmax(log_weights, -1))
