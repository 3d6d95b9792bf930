"""Metrics and statistics of samples."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """A module of the package, imported when it is first asked for: gk.evaluation.calibration."""
    try:
        if not name.startswith("_"):
            return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
