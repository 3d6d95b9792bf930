"""Rewards by reference sounds, with gradients; references are a sound, a folder or an npz."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from guidekit.objectives.of_states import StateReward
from guidekit.objectives.statistics import Style

from . import codec, files, mel


def levels(states: Tensor) -> Tensor:
    """Levels of mel bands over time, (B, bands, frames), 0 (silent) to 1, of pictures or waveforms."""
    picture = states if states.ndim == 4 else mel.to_states(mel.power(states[:, 0]))
    return (picture[:, 0] + 1) / 2


@dataclasses.dataclass(frozen=True, eq=False)
class Timbre(StateReward):
    """Minus the squared distance of which bands sound together, and how loud, to that of references, as a share of it.

    The Gram matrix of the bands' levels over time: when they sound does not matter.

    Args:
        reference: a sound, a folder of sounds, or an npz.

    Raises:
        ValueError: nothing to be read there.
    """

    reference: str | Path
    name: ClassVar[str] = "timbre"
    temperature = 0.1
    shapes = tuple(codec.STATES.values())

    def __post_init__(self) -> None:
        self._objective  # noqa: B018  fail here, not at the first state

    @functools.cached_property
    def _objective(self) -> Style:
        return dataclasses.replace(Style.of(levels, codec.encode(files.read(self.reference).sounds)), shape=None)

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return self._objective(states)
