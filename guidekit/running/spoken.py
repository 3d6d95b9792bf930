"""The command that is being carried out, for records."""

from __future__ import annotations

import contextlib
import importlib.metadata
import shlex
import sys
from collections.abc import Sequence
from contextvars import ContextVar

_COMMAND: ContextVar[str | None] = ContextVar("command", default=None)
LIBRARIES = {
    "numpy": "numpy",
    "rdkit": "rdkit",
    "selfies": "selfies",
    "Bio": "biopython",
    "networkx": "networkx",
    "scipy": "scipy",
    "PIL": "pillow",
    "soundfile": "soundfile",
}
"""Modules that decide on objects and rewards, and the packages that they are of."""


def say(command: str, settings: Sequence[str]) -> None:
    """Remember a command as it was written."""
    _COMMAND.set(shlex.join(["guidekit", command, *settings]))


def spoken() -> str | None:
    """The command that was written; None where guidekit was called from Python."""
    return _COMMAND.get()


def versions() -> dict[str, str]:
    """Versions of the libraries that are in use in this process."""
    found = {}
    for module, package in LIBRARIES.items():
        if module in sys.modules:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[package] = importlib.metadata.version(package)
    return found
