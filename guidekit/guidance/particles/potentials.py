"""Potentials of a particle filter: what an evaluation of the value adds to the log-weight of a path."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Potential = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(value, total, history), each (B,) nats -> (log-potential of this evaluation, new history).

`total` is the sum of all log-potentials that the path has had, `history` minus infinity before the first evaluation.
The last evaluation is always value - total, whatever the potential: that makes the target exact for every choice.
"""


def difference(value: Tensor, total: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
    """value - total: what has been gained since the evaluation before."""
    return torch.where(value.isfinite(), value - total, 0.0), history


def maximum(value: Tensor, total: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest value so far."""
    history = torch.where(value.isfinite(), torch.maximum(history, value), history)
    return torch.where(history.isfinite(), history, 0.0), history


def summed(value: Tensor, total: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of all values so far."""
    history = torch.where(value.isfinite(), torch.where(history.isinf(), 0.0, history) + value, history)
    return torch.where(history.isfinite(), history, 0.0), history


POTENTIALS: dict[str, Potential] = {"difference": difference, "max": maximum, "sum": summed}
"""By name; Singhal et al. 2025, arXiv:2501.06848, eq. 7-9."""
