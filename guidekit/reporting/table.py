"""Tables that compare runs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.table import Table

SHARES = ("valid", "unique", "validity", "uniqueness", "novelty", "scored")


def comparison(columns: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """One column a run, one row a figure.

    Args:
        columns: run -> figure -> value; NaN is shown as a dash, shares (valid, unique, ...) in percent.
        title: above the table.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for figure in {
        name: None for column in reversed(list(columns.values())) for name in column
    }:  # the guided run has most
        values = [column.get(figure, math.nan) for column in columns.values()]
        if not all(isinstance(value, float) and math.isnan(value) for value in values):
            table.add_row(figure, *(text(figure, value) for value in values))
    return table


def text(figure: str, value: float | str) -> str:
    """A value as shown in a table."""
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return "-"
    if figure in SHARES:
        return f"{100 * value:.1f} %"
    if abs(value) >= 1e15:
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
