"""Strength of a guidance over the run: a number, a function of the time, or a mean shared out over the steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from guidekit.core.loop import Setup
from guidekit.core.requirements import Fact
from guidekit.core.step import Moment
from guidekit.errors import UnknownNameError

KINDS: dict[str, Callable[[float], float]] = {
    "increase": lambda kept: kept,
    "decrease": lambda kept: 1 - kept,
    "constant": lambda kept: 1.0,
}
"""Weight of a step by the share of the squared signal that it keeps, abar_t / abar_u; abar = a^2 / (a^2 + s^2)."""

_SHARES: WeakKeyDictionary[Setup, dict[str, dict[int, float]]] = WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Averaged:
    """A strength that has a given mean over the steps of a run and grows, falls or stays over them.

    Args:
        mean: over the run, finite.
        kind: a name of `KINDS`.

    Raises:
        UnknownNameError: no such kind.
        ValueError: a mean that is not finite.

    Source: Ye et al. 2024, arXiv:2409.15761, section 4 (TFG's structures of rho and mu).
    """

    mean: float
    kind: str = "increase"

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.kind not in KINDS:
            raise UnknownNameError("schedule of a strength", str(self.kind), KINDS)
        if not math.isfinite(self.mean):
            raise ValueError(f"a strength must be a finite number, got {self.mean}")

    def at(self, setup: Setup, moment: Moment) -> float:
        """The strength of the step that starts at a moment."""
        if self.mean == 0:
            return 0.0
        made = _SHARES.setdefault(setup, {})
        if self.kind not in made:
            made[self.kind] = _shares(setup, KINDS[self.kind])
        return self.mean * made[self.kind].get(moment.index, 1.0)


@dataclasses.dataclass(frozen=True)
class Below:
    """A strength where the noise s / a is at most a level, and none above.

    Args:
        value: finite.
        level: above 0.

    Raises:
        ValueError: numbers outside their range.
    """

    value: float
    level: float

    def __post_init__(self) -> None:
        """Check the settings."""
        if not math.isfinite(self.value) or not self.level > 0:
            raise ValueError(f"a finite strength and a level above 0 are needed, got {self.value} and {self.level}")

    def at(self, setup: Setup, moment: Moment) -> float:
        """The strength of the step that starts at a moment."""
        kept = signal(setup.prior.process, moment.t, 0.0)
        return self.value if 1 - kept <= kept * self.level**2 else 0.0


Strength = float | Callable[[float], float] | Averaged | Below


def strength_of(strength: Strength, setup: Setup, moment: Moment) -> float:
    """A strength as a number, at a moment."""
    if isinstance(strength, Averaged | Below):
        return strength.at(setup, moment)
    return float(strength(moment.t) if callable(strength) else strength)


def checked(name: str, strength: Any) -> Strength:
    """A strength with numbers as floats.

    Raises:
        ValueError: a number that is not finite.
    """
    if isinstance(strength, int | float):
        if not math.isfinite(strength):
            raise ValueError(f"{name} must be a finite number, got {strength}")
        return float(strength)
    return strength


def _shares(setup: Setup, kind: Callable[[float], float]) -> dict[int, float]:
    """Weights of the steps of the plan by the index of their start, with mean 1."""
    weights = {step.start.index: kind(signal(setup.prior.process, step.t, step.u)) for step in setup.steps}
    mean = math.fsum(weights.values()) / len(weights)
    return {index: weight / mean if mean > 0 else 1.0 for index, weight in weights.items()}


def signal(process: Any, t: float, u: float) -> float:
    """abar_t / abar_u in [0, 1]; for tokens the share of known ones, of several parts that of the real-valued ones."""
    if Fact.PARTS in process.provides:
        process = next(part for part in process.parts.values() if Fact.REAL in part.provides)
    if Fact.TOKENS in process.provides:
        return float(process.alpha(t)) / max(float(process.alpha(u)), 1e-12)
    (a, s), (b, r) = process.coefficients(t), process.coefficients(u)
    return a * a / (a * a + s * s) * (b * b + r * r) / max(b * b, 1e-24)
