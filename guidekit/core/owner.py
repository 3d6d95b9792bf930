"""Who may have a slot of memory in a population."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

Memory = TypeVar("Memory")


class Owner(Generic[Memory]):
    """A guidance, a sampler or an objective; Memory is the type of what is in its slot, a tree with B rows.

    Owners are frozen dataclasses that compare by identity (`eq=False`): two of one kind have two slots.
    """

    def rows(self, samples: int) -> Any:
        """What a guidance or objective holds for each sample of a run, a tree with so many rows; None is nothing.

        It becomes its slot, and is cut by chunk, repeated and selected with the particles.
        """
        return None
