"""Rewards of piano rolls; higher is better. Cells between -1 and 1 are shares of a note: there are gradients."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from guidekit.objectives.of_states import StateReward
from guidekit.objectives.window import Window, Windowed, outside, refuse_empty

from . import rolls


def sounding(states: Tensor) -> Tensor:
    """Share (B, steps, pitches) of every cell that sounds: it begins there, or is held, whichever is more."""
    return (states.amax(1) + 1) / 2


def chroma(states: Tensor) -> Tensor:
    """Steps that each pitch class sounds (B, 12), C first."""
    cells = sounding(states).sum(1)
    classes = (torch.arange(rolls.PITCHES, device=states.device) + rolls.LOWEST) % 12
    return cells.new_zeros(len(cells), 12).index_add(1, classes, cells)


class RollReward(StateReward):
    """Base: a reward of piano rolls."""

    shapes = (rolls.SHAPE,)


@dataclasses.dataclass(frozen=True, eq=False)
class Key(RollReward):
    """Correlation (-1 to 1) of how long the pitch classes sound with the profile of a key.

    Args:
        scale: such as "C major" or "A minor".

    Source: profiles of Krumhansl & Kessler 1982.
    """

    scale: str = "C major"
    name: ClassVar[str] = "key"
    temperature = 0.05
    floor = -1.0

    def __post_init__(self) -> None:
        rolls.pitch_classes(self.scale)

    def values(self, states: Tensor) -> Tensor:
        """See the class; 0 where nothing sounds."""
        tonic, mode = rolls.named_key(self.scale)
        profile = torch.tensor(np.roll(rolls.PROFILES[mode], tonic)).to(states)
        classes = chroma(states)
        a, b = classes - classes.mean(1, keepdim=True), profile - profile.mean()
        return (a * b).sum(1) / (a.square().sum(1) * b.square().sum() + 1e-12).sqrt()


@dataclasses.dataclass(frozen=True, eq=False)
class InScale(RollReward):
    """Minus the share of what sounds that lies outside a scale, of cells; 0 where nothing is.

    Args:
        scale: such as "C major"; minor scales are natural.
    """

    scale: str = "C major"
    name: ClassVar[str] = "in_scale"
    temperature = 0.02

    def __post_init__(self) -> None:
        rolls.pitch_classes(self.scale)

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        foreign = [c for c in range(12) if c not in rolls.pitch_classes(self.scale)]
        classes = chroma(states)
        return -classes[:, foreign].sum(1) / classes.sum(1).clamp_min(1e-6)


@dataclasses.dataclass(frozen=True, eq=False)
class Polyphony(RollReward, Windowed):
    """Mean number of notes that sound at a step in a window: minus the distance to [low, high]."""

    low: float = 3.5
    high: float = 4.0
    name: ClassVar[str] = "polyphony"
    temperature = 0.2

    def __post_init__(self) -> None:
        refuse_empty(self.low, self.high, (0.0, rolls.PITCHES), "the number of notes that sound")

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return outside(sounding(states).sum(2).mean(1), self.low, self.high)


@dataclasses.dataclass(frozen=True)
class NoteCount(Window):
    """Number of notes in a window, minus the distance; a black box."""

    low: float = 40.0
    high: float = 60.0
    name: ClassVar[str] = "note_count"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    temperature: ClassVar[float] = 5.0

    def measure(self, thing: np.ndarray) -> float:
        """Notes of a piece."""
        return float(len(thing))


ROLL_REWARDS: dict[str, type] = {reward.name: reward for reward in (Key, InScale, Polyphony, NoteCount)}
