"""Optional dependencies: imported when they are needed, and named with their extra where they are not there."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingExtraError(ImportError):
    """An optional dependency is absent; the message names the extra to install."""


def require(extra: str, module: str) -> ModuleType:
    """Import a module, or say which extra of guidekit provides it.

    Args:
        extra: name of a guidekit extra, such as "molecules".
        module: importable name, such as "rdkit".

    Raises:
        MissingExtraError: the module is not installed. Errors raised inside an installed module pass through.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(extra, error) from error


def missing(extra: str, error: ModuleNotFoundError) -> MissingExtraError:
    """The error that says which extra brings a module."""
    return MissingExtraError(f"'{error.name}' is needed here and is not installed: pip install \"guidekit[{extra}]\"")
