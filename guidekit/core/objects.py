"""The objects that states stand for, as an objective of objects sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from guidekit.core.state import State, batch


class Objects(Sequence[Any]):
    """B objects of clean states, None where a state is none; decoded when they are first looked at, equal states once.

    Args:
        states: (B, *S).
        decode: states to objects.
        language: names the codec, so that who remembers states does not mix up those of different codecs.
    """

    def __init__(self, states: State, decode: Callable[[State], list[Any]], language: str = "") -> None:
        self.states, self.decode, self.language = states, decode, language

    @cached_property
    def _all(self) -> list[Any]:
        if not isinstance(self.states, Tensor):
            return self.decode(self.states)
        distinct, place = torch.unique(self.states, dim=0, return_inverse=True)
        objects = self.decode(distinct)
        return [objects[i] for i in place.tolist()]

    def __len__(self) -> int:
        return batch(self.states)

    def __getitem__(self, index: Any) -> Any:
        return self._all[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all)
