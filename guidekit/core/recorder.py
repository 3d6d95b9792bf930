"""Diagnostics of a run: collected here, returned with the result, never printed or kept on a guidance."""

from __future__ import annotations

import torch
from torch import Tensor


class Recorder:
    """Collects diagnostics by name.

    Args:
        groups: P.
    """

    def __init__(self, groups: int) -> None:
        self.groups, self.records = groups, {}  # type: int, dict[str, list[Tensor]]

    def record(self, name: str, value: Tensor) -> None:
        """Keep a value of the present step: one a group (P, ...), or one a row, as (P, rows a group, ...)."""
        if len(value) != self.groups:
            value = value.reshape(self.groups, -1, *value.shape[1:])
        self.records.setdefault(name, []).append(value)

    def stacked(self) -> dict[str, Tensor]:
        """All records as (P, number of records, ...); rows that a step did not have are NaN."""
        return {name: torch.stack(_padded(values), 1) for name, values in self.records.items()}


def _padded(values: list[Tensor]) -> list[Tensor]:
    widths = {value.shape[1] if value.ndim > 1 else 0 for value in values}
    if len(widths) == 1:
        return values
    longest = max(widths)
    wide = [(value[:, None] if value.ndim == 1 else value).double() for value in values]
    return [
        torch.cat([value, value.new_full((len(value), longest - value.shape[1], *value.shape[2:]), torch.nan)], 1)
        for value in wide
    ]
