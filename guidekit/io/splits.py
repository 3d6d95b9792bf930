"""Parts of shipped sets as users name them: "emoji" or "emoji:test"."""

from __future__ import annotations

from collections.abc import Collection

from guidekit.errors import UnknownNameError


def split_of(name: str, sets: Collection[str], splits: Collection[str]) -> tuple[str, str] | None:
    """Set and split of a name (the training part where none is named); None for anything but a set.

    Raises:
        UnknownNameError: a set with another split.
    """
    known, _, split = str(name).partition(":")
    if known not in sets:
        return None
    if split and split not in splits:
        raise UnknownNameError(f"split of {known}", split, splits)
    return known, split or "train"
