"""Checks of settings, worded once."""

from __future__ import annotations

import math
from typing import Any


def check_finite(who: str, **values: Any) -> None:
    """Raise `ValueError` for a setting that is no finite number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{who}: {name} must be a finite number, got {value!r}")


def check_range(who: str, low: float = 0.0, high: float = math.inf, *, above: bool = False, **values: Any) -> None:
    """Raise `ValueError` for a setting outside [low, high], or (low, high] where it must be above; None is any."""
    for name, value in values.items():
        if value is None:
            continue
        number = not isinstance(value, bool) and isinstance(value, int | float)
        if not number or not (low < value <= high if above else low <= value <= high) or not math.isfinite(value):
            least = f"above {low:g}" if above else f"at least {low:g}"
            most = "" if high == math.inf else f" and at most {high:g}"
            raise ValueError(f"{who}: {name} must be {least}{most}, got {value!r}")
