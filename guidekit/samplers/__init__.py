"""Samplers of tokens (Ancestral, FirstHitting, EulerCTMC, ReMDM, ...) and of reals (DDIM, DPMSolver, ...)."""

from typing import Any

from guidekit import registry
from guidekit.core.sampler import Here, Sampler
from guidekit.samplers.base import TimedSampler

__all__ = ["Here", "Sampler", "TimedSampler"]


def __getattr__(name: str) -> Any:
    return registry.exported("sampler", name)


def __dir__() -> list[str]:
    return [*__all__, *(entry.attribute for entry in registry.entries("sampler").values())]
