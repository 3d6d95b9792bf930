"""Small files to try commands with: what a domain gives to `guidekit examples`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

MADE = "made by guidekit; free to use"
"""Licence of what is drawn or computed here, of no data of others."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A file or a folder that `guidekit examples` writes.

    Args:
        name: of the file or folder, without a path.
        what: it holds, in a few words.
        command: that uses it, as it stands in the documentation.
        license: of its content.
        write: makes it at a path that does not exist yet.
    """

    name: str
    what: str
    command: str
    license: str
    write: Callable[[Path], object]
