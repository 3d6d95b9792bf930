"""Functions of one number or of a tensor of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Number = Any
"""A number, or a tensor of numbers; answers are of the kind of what was given."""


def functions_of(t: Number) -> Any:
    """The module with the functions of numbers of this kind."""
    return torch if isinstance(t, Tensor) else math


def inverse(function: Callable[[float], float], value: float, low: float = 0.0, high: float = 1.0) -> float:
    """The t in [low, high] at which a rising function reaches a value, by bisection down to rounding."""
    while low < (middle := (low + high) / 2) < high and high - low > 1e-18:
        low, high = (middle, high) if function(middle) < value else (low, middle)
    return high


def in_words(values: Sequence[float]) -> str:
    """A table of numbers in a few words."""
    if len(values) <= 4:
        return f"[{', '.join(f'{value:g}' for value in values)}]"
    return f"<{len(values)} numbers from {values[0]:g} to {values[-1]:g}>"
