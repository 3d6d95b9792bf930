"""guidekit: guided sampling of diffusion priors, in any domain."""

import importlib
from typing import Any

__version__ = "0.2.0"

_WHERE = {
    "Domain": "guidekit.domain",
    "load_domain": "guidekit.domain",
    "Guidance": "guidekit.core.guidance",
    "GuidanceError": "guidekit.core.requirements",
    "chain": "guidekit.core.guidance",
    "Result": "guidekit.sampling",
    "sample": "guidekit.sampling",
}
_MODULES = ("guidance", "inversion", "objectives", "priors", "processes", "samplers")

__all__ = [*_WHERE, *_MODULES]


def __getattr__(name: str) -> Any:
    """Public names, imported when they are used: `guidekit --help` needs no torch."""
    if name in _MODULES:
        return importlib.import_module(f"guidekit.{name}")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'guidekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
