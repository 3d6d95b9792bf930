"""Priors that count what they are asked."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Guidance, chain
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.state import State


class _Counted:
    """Mixed into the class of a prior: counts the rows it is asked for."""

    counts: dict[str, int]

    def predict(self, x: State, t: Any, condition: State | None = None) -> Any:
        """Count, then ask the prior."""
        self._count(x, t)
        return super().predict(x, t, condition)  # type: ignore[misc]

    def features(self, x: State, t: Any, condition: State | None = None) -> Tensor:
        """As `predict`, for guidance that asks for the network's features."""
        self._count(x, t)
        return super().features(x, t, condition)  # type: ignore[misc]

    def _count(self, x: State, t: Any) -> None:
        asked = self.network_rows(x, t)  # type: ignore[attr-defined]
        self.counts["calls"] += asked > 0
        self.counts["rows"] += asked

    def to(self, device: Any) -> Any:
        """Stay the same object, so that the counts are seen."""
        return self


def counting(prior: Prior) -> Any:
    """A copy of a prior that counts the rows it is asked for, in `counts`."""
    new = copy.copy(prior)
    new.__class__ = type(f"Counting{type(prior).__name__}", (_Counted, type(prior)), {})
    vars(new)["counts"] = {"calls": 0, "rows": 0}
    return new


def counted(guidance: Guidance | None, priors: list[Any]) -> Guidance | None:
    """The guidance with every prior among its settings counted as well."""
    members = [_with_counted(member, priors) for member in (guidance.members if guidance is not None else ())]
    return chain(*members) if members else None


def _with_counted(value: Any, priors: list[Any]) -> Any:
    """A guidance, branch or tuple with the priors in its fields counted."""
    if isinstance(value, Prior):
        priors.append(counting(value))
        return priors[-1]
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        new = tuple(_with_counted(each, priors) for each in value)
        return value if all(a is b for a, b in zip(new, value, strict=True)) else new
    if not dataclasses.is_dataclass(value) or isinstance(value, type | Sampler):
        return value
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    made = {name: _with_counted(each, priors) for name, each in fields.items()}
    changed = {name: each for name, each in made.items() if each is not fields[name]}
    return dataclasses.replace(value, **changed) if changed else value
