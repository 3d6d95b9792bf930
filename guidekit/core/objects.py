"""The objects that states stand for, as an objective of objects sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from guidekit.core.state import State, batch, leaves, take


class Objects(Sequence[Any]):
    """B objects of clean states, None where a state is none; decoded when they are first looked at, equal states once.

    Args:
        states: (B, *S).
        decode: states to objects.
        language: names the codec, so that who remembers states does not mix up those of different codecs.
    """

    def __init__(self, states: State, decode: Callable[[State], list[Any]], language: str = "") -> None:
        self.states, self.decode, self.language = states, decode, language
        self._decoded: dict[int, Any] = {}

    @cached_property
    def _groups(self) -> tuple[list[int], Tensor, list[bytes]]:
        """First row of every distinct state, (B,) which of these a row equals, and bytes that tell them apart."""
        flat = [leaf.detach().cpu().contiguous().flatten(1).numpy() for leaf in leaves(self.states)]
        rows = [b"|".join(leaf[row].tobytes() for leaf in flat) for row in range(batch(self.states))]
        numbers: dict[bytes, int] = {}
        place = torch.tensor([numbers.setdefault(row, len(numbers)) for row in rows], dtype=torch.int64)
        first = {number: row for row, number in reversed(list(enumerate(place.tolist())))}
        return [first[number] for number in range(len(numbers))], place, list(numbers)

    @property
    def place(self) -> Tensor:
        """(B,) int64: which of the distinct states every row is."""
        return self._groups[1]

    @property
    def keys(self) -> list[bytes]:
        """What equal states of one codec share, one for every distinct state."""
        return self._groups[2]

    def distinct(self, numbers: Sequence[int]) -> list[Any]:
        """The objects of some of the distinct states."""
        fresh = [number for number in numbers if number not in self._decoded]
        if fresh:
            first = self._groups[0]
            rows = torch.tensor([first[number] for number in fresh], device=leaves(self.states)[0].device)
            self._decoded.update(zip(fresh, self.decode(take(self.states, rows)), strict=True))
        return [self._decoded[number] for number in numbers]

    @cached_property
    def _all(self) -> list[Any]:
        objects = self.distinct(range(len(self.keys)))
        return [objects[i] for i in self.place.tolist()]

    def __len__(self) -> int:
        return batch(self.states)

    def __getitem__(self, index: Any) -> Any:
        return self._all[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all)
