"""Who may have a slot of memory in a population."""

from __future__ import annotations

from typing import Generic, TypeVar

Memory = TypeVar("Memory")


class Owner(Generic[Memory]):
    """A guidance, a sampler or an objective; Memory is the type of what is in its slot, a tree with B rows.

    Owners are frozen dataclasses that compare by identity (`eq=False`): two of one kind have two slots.
    """
