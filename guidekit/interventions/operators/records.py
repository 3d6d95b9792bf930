"""Attention kept for later; nothing is changed."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from guidekit.interventions.heads import Heads
from guidekit.interventions.operators.operator import Choice, Operator
from guidekit.interventions.places import Place


@dataclasses.dataclass(frozen=True)
class Record(Operator):
    """Keeps how much attention every token receives, the mean over heads of the sum over queries (average 1).

    `Probe.records` has it, a tensor (b, M) a call.

    Args:
        sites: which.
    """

    sites: Choice = "middle"
    ports: ClassVar[tuple[str, ...]] = ("self_attention", "cross_attention")
    records = True

    def attention(self, heads: Heads, place: Place, companion: Heads | None) -> None:
        """See `Operator.attention`."""
        place.record(heads.weights().mean(1).sum(1))


@dataclasses.dataclass(frozen=True)
class RecordMaps(Operator):
    """Keeps attention maps, the mean over heads; rows sum to one.

    `Probe.records` has them, a tensor (b, N, M) a call.

    Args:
        sites: which.
        port: "self_attention" or "cross_attention".
    """

    sites: Choice = "middle"
    port: str = "self_attention"
    records = True

    @property
    def ports(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one given."""
        return (self.port,)

    def attention(self, heads: Heads, place: Place, companion: Heads | None) -> None:
        """See `Operator.attention`."""
        place.record(heads.weights().mean(1))
