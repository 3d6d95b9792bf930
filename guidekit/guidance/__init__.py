"""All guidances, found by their marks (`guidekit.registry.register`); a new one needs no line here."""

from typing import Any

from guidekit import registry
from guidekit.core.guidance import Guidance, chain

__all__ = ["Guidance", "chain"]


def __getattr__(name: str) -> Any:
    return registry.exported("guidance", name)


def __dir__() -> list[str]:
    return [*__all__, *(entry.attribute for entry in registry.entries("guidance").values())]
