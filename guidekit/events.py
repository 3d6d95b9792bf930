"""An event under a prior: how samples and their rewards are drawn, kept and told of."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance
from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.state import batch, take
from guidekit.objectives.objects import ObjectReward, score
from guidekit.objectives.window import Window, Windowed
from guidekit.results import joined, parted
from guidekit.samplers import Sampler
from guidekit.sampling import Result, Sampling, join, prepare

GROUPS = 20
"""Independent populations, whose spread is the error."""
T95 = 2.093
"""97.5 % quantile of Student's law with `GROUPS` - 1 degrees of freedom."""
ROWS = 1024
"""Particles drawn together, about: a piece of work that is kept when it is done."""
REWARD = "reward"
"""Name of the particles' rewards among the diagnostics of what was drawn, (P, K)."""


class Store:
    """Where finished pieces of work are kept, so that the same estimate goes on from them: nowhere."""

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and plain JSON of a piece; None where it is not there."""
        return None

    def save(self, name: str, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
        """Keep a piece, in the place of one of this name."""


@dataclasses.dataclass(frozen=True)
class Estimated:
    """What is known of the probability of an event.

    Args:
        groups: independent estimates, (P,) float64.
        states: particles (N, *S).
        log_weights: of the particles, (N,) nats, -inf outside of the event: samples of the prior given the event.
        drawn: samples that were drawn, those of pilots with them.
        ledger: of all runs.
        tilt: inverse temperature, 1 / unit of the reward, at which particles were drawn; 0 where they were not tilted.
        result: of the last run of a filter; None for other methods.
        remark: a sentence where the error cannot be trusted; empty where it can.
        event: in words.
        measure: the number that the event is about, where one gives it.
    """

    groups: Tensor
    states: Any
    log_weights: Tensor
    drawn: int
    ledger: Ledger
    tilt: float = 0.0
    result: Result | None = None
    remark: str = ""
    event: str = ""
    measure: Objective | None = None

    @property
    def probability(self) -> float:
        """The mean of the groups."""
        return float(self.groups.mean())

    @property
    def error(self) -> float:
        """Its standard error, from their spread."""
        return float(self.groups.std()) / math.sqrt(len(self.groups))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % by Student's law on the logarithm; (0, NaN) where nothing was seen."""
        if not self.probability > 0:
            return 0.0, math.nan
        factor = math.exp(min(T95 * self.error / self.probability, 700.0))
        return self.probability / factor, self.probability * factor

    def samples(self, count: int, seed: int = 0) -> Any:
        """States (count, *S) drawn by weight: samples of the prior given the event, some of them more than once.

        Raises:
            ValueError: no particle is within the event.
        """
        if self.log_weights.isneginf().all():
            raise ValueError("no particle is within the event; take more samples")
        generator = torch.Generator().manual_seed(seed)
        return take(
            self.states, torch.multinomial(torch.softmax(self.log_weights, 0), count, True, generator=generator)
        )


@dataclasses.dataclass(frozen=True)
class Threshold:
    """An event as a reward that is high enough.

    Args:
        reward: of clean states or objects.
        at_least: the least reward of the event.
        said: the event in words.
        measure: the number that it is about; None where nobody gives it.
    """

    reward: Objective
    at_least: float
    said: str
    measure: Objective | None


def threshold(reward: Objective, at_least: float | None, at_most: float | None) -> Threshold:
    """The event that a reward lies within bounds.

    A window on something measured (`Windowed`: logP, a share of G and C, a brightness) is moved to the bounds, so that
    they are in the unit of the measure; without bounds the event is the window itself. Other rewards have one bound.

    Raises:
        ValueError: bounds that are none, no finite numbers, or too many.
    """
    for name, bound in (("at_least", at_least), ("at_most", at_most)):
        number = isinstance(bound, int | float) and not isinstance(bound, bool)
        if bound is not None and not (number and math.isfinite(bound)):
            raise ValueError(f"{name}={bound!r}; a finite number in the unit of the reward is needed")
    low, high = -math.inf if at_least is None else float(at_least), math.inf if at_most is None else float(at_most)
    if low > high:
        raise ValueError(f"at_least={low:g} is above at_most={high:g}: nothing lies between")
    given = (at_least, at_most) != (None, None)
    moved = moved_window(reward, (low, high) if given else None)
    if moved is not None:
        return moved
    if not given:
        raise ValueError(f"what is the event? give at_least=, the least {reward.name}, or at_most=")
    if None not in (at_least, at_most):
        raise ValueError(
            f"at_least= and at_most= together are for windows such as logp; {reward.name} takes one of them"
        )
    said = between(reward.name, low, high)
    return Threshold(reward, low, said, reward) if at_most is None else Threshold(-reward, -high, said, reward)


def moved_window(reward: Objective, bounds: tuple[float, float] | None) -> Threshold | None:
    """The event that what a window measures lies within bounds, or within its own; None for a reward that is none."""
    made: Any = reward.function if isinstance(reward, ObjectReward) else reward
    window = isinstance(made, Windowed)
    if not window:
        return None
    low, high = (made.low, made.high) if bounds is None else bounds
    moved, said = dataclasses.replace(made, low=low, high=high), between(reward.name, low, high)
    if made is reward:
        return Threshold(moved, 0.0, said, None)
    shown = ObjectReward(made.measure, reward.name) if isinstance(made, Window) else None
    return Threshold(ObjectReward(moved, reward.name), 0.0, said, shown)


def between(name: str, low: float, high: float) -> str:
    """Bounds of a number, in words."""
    below = f"{low:g} <= {name}" if math.isfinite(high) else f"{name} >= {low:g}"
    if math.isinf(low):
        below = name
    return f"{below} <= {high:g}" if math.isfinite(high) else below


@dataclasses.dataclass(frozen=True)
class Event:
    """reward(x_0) >= at_least under a prior, and how samples are drawn; see `estimate`."""

    prior: Prior
    objective: Objective
    at_least: float
    steps: int
    sampler: Sampler | str | None
    condition: Any
    store: Store

    def draw(self, guidance: Guidance | None, count: int, seed: int, name: str = "") -> tuple[Result, Tensor]:
        """Samples of the prior, of `count` groups, and the rewards of all particles (N,) float64.

        Pieces of about `ROWS` particles are kept under a name, and not drawn again where they are there.
        """
        sampling = prepare(self.prior, guidance, count, self.steps, seed, self.sampler, condition=self.condition)
        for told in sampling.cautions:
            warnings.warn(told, stacklevel=2)
        size = max(1, ROWS // sampling.setup.particles)
        parts = []
        for begin in range(0, count, size):
            found = self.store.load(f"{name}-{begin:06d}") if name else None
            if found is None:
                found = parted(self._drawn(sampling, begin, min(begin + size, count)))
                if name:
                    self.store.save(f"{name}-{begin:06d}", *found)
            parts.append(joined(*found, self.prior))
        result = join(parts)
        return result, result.info.pop(REWARD).flatten()

    def _drawn(self, sampling: Sampling, begin: int, end: int) -> Result:
        """Some of the groups, with rewards and what these have cost."""
        found, began = sampling.draw(begin, end), time.perf_counter()
        ledger = found.ledger + Ledger(reward_calls=batch(found.samples))
        rewards = score(self.prior, self.objective, found.samples, ledger).view(end - begin, -1)
        ledger.seconds += time.perf_counter() - began
        return dataclasses.replace(found, ledger=ledger, info={**found.info, REWARD: rewards})


def remark(groups: Tensor, missed: float, other: str = "") -> str:
    """A sentence where the error of a mean over groups (P,) cannot be trusted; empty where it can.

    Args:
        groups: estimates.
        missed: by how much the particle that came nearest to the event has missed it.
        other: what else could be done.
    """
    if not bool((groups > 0).any()):
        nearest = f"the nearest one misses it by {missed:.3g}" if math.isfinite(missed) else "none has a reward"
        return f"no particle came into the event ({nearest}): where it is possible at all, take more samples{other}"
    effective = float(groups.sum() ** 2 / groups.square().sum())
    if effective < len(groups) / 3:
        return (
            f"the estimate rests on {effective:.1f} of {len(groups)} groups: it is too low by an unknown amount, "
            f"and so is its error; take more samples{other}"
        )
    return ""
