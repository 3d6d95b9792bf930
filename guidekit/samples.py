"""What a domain is shown and hands back: states of a prior, and objects that were read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from guidekit.core.objects import Objects
from guidekit.core.prior import Prior
from guidekit.core.state import State, batch


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Clean states with the prior that made them; objects are decoded once, by its codec, equal states together.

    Attributes:
        states: (B, *S).
        prior: that made them.
        condition: that they were made for, as users write it; None for none.
    """

    states: State
    prior: Prior
    condition: Any = None

    @cached_property
    def seen(self) -> Objects:
        """The objects as rewards look at them: decoded when first needed."""
        return Objects(self.states, self.prior.decode, self.prior.language)

    @cached_property
    def objects(self) -> list[Any]:
        """B objects, None where a state is none."""
        return list(self.seen)

    def __len__(self) -> int:
        return batch(self.states)


class Rejected(NamedTuple):
    """What could not be read: where it stands, its text or name, and why."""

    place: str
    text: str
    reason: str


class Reading(NamedTuple):
    """What is to be said of files that were read, and what in them could not be."""

    notes: str = ""
    rejected: Sequence[Rejected] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(Sequence[Any]):
    """Objects that were read from a file or folder; it can be used as the sequence of them.

    Attributes:
        objects: as they were read, None for those that could not be.
        labels: the number of the class wanted of each, -1 for none; None where nothing was said.
        classes: names of the classes that labels count; empty for those of the domain.
        raw: what stood in the file for each, where the field's metrics look at it.
        notes: a sentence on what is odd, empty where nothing is.
        rejected: what could not be read.
    """

    objects: Sequence[Any]
    labels: Sequence[int] | None = None
    classes: tuple[str, ...] = ()
    raw: Sequence[str] | None = None
    notes: str = ""
    rejected: Sequence[Rejected] = ()

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: Any) -> Any:
        return self.objects[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.objects)


def joined(parts: Sequence[Dataset]) -> Dataset:
    """Objects of several files one after the other, with all notes and rejections; of one file everything is kept."""
    if len(parts) == 1:
        return parts[0]
    notes = "; ".join(part.notes for part in parts if part.notes)
    return Dataset(
        [one for part in parts for one in part], notes=notes, rejected=[one for part in parts for one in part.rejected]
    )
