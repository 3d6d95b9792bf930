"""Noising of states of several parts, each by its own process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from guidekit.core.kernel import CompositeKernel
from guidekit.core.prediction import CompositePrediction
from guidekit.core.process import Process
from guidekit.core.requirements import Fact
from guidekit.core.state import Composite
from guidekit.core.support import EVERYWHERE, Places, Support


@dataclasses.dataclass(frozen=True)
class CompositeProcess(Process):
    """Every part is noised by its own process, independently, and only where a row has a place.

    Args:
        parts: process by name.
        centered: names of the real-valued parts without a center of mass: their mean over the places of a row is zero,
            and so is that of their noise.

    Raises:
        ValueError: no parts, or a centered one that there is not.
    """

    parts: Mapping[str, Any]
    centered: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Check the names."""
        object.__setattr__(self, "centered", frozenset(self.centered))
        unknown = sorted(self.centered - set(self.parts))
        if not self.parts or unknown:
            raise ValueError(f"parts {', '.join(self.parts) or '(none)'}; centered: {', '.join(unknown) or '(none)'}")

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """Facts of all parts; not those that speak of a whole state (one sequence, its rates)."""
        facts = frozenset[Fact]().union(*(process.provides for process in self.parts.values()))
        return (facts | {Fact.PARTS}) - {Fact.SEQUENCE}

    def support(self, name: str, state: Composite) -> Support:
        """Where a part of the states has something, and freedom to move."""
        return EVERYWHERE if state.mask is None else Places(state.mask, name in self.centered)

    def noising(self, state: Composite, t: float, u: float, support: Support = EVERYWHERE) -> CompositeKernel:
        """See `Process.noising`; the support is that of each part."""
        parts = self.parts.items()
        kernels = {name: process.noising(state.parts[name], t, u, self.support(name, state)) for name, process in parts}
        return CompositeKernel(kernels, state.mask)

    def reverse_kernel(self, prediction: CompositePrediction, t: float, u: float) -> CompositeKernel:
        """Ancestral kernels of all parts from t to u."""
        parts = self.parts.items()
        kernels = {name: process.reverse_kernel(prediction.parts[name], t, u) for name, process in parts}
        return CompositeKernel(kernels, prediction.mask)

    def restart(self, state: Composite, t: float) -> Composite:
        """See `Process.restart`."""
        parts = {name: process.restart(state.parts[name], t) for name, process in self.parts.items()}
        return Composite(parts, state.mask)

    def flow_space(self, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """See `GaussianProcess.flow_space`; of the real-valued parts, which must have one process.

        Raises:
            ValueError: real-valued parts of several processes, or none.
        """
        found = {repr(process): process for process in self.parts.values() if Fact.FLOW in process.provides}
        if len(found) != 1:
            raise ValueError(f"one flow for all real-valued parts is needed; there are {len(found)}")
        return next(iter(found.values())).flow_space(a, s)


__all__ = ["CompositeProcess"]
