"""What the loop costs beside loops written by hand on the same denoiser."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from rich.table import Table

from guidekit.bench.loops import LOOPS
from guidekit.extras import MissingExtraError

LONGEST = 20.0
"""Seconds after which no more repetitions of a loop are begun."""


def run(repeats: int = 5, only: str = "") -> Table:
    """Measure all rows whose name holds a text, on one thread, and return a table of ratios with their spread."""
    table = Table(
        title=f"seconds of guidekit / seconds of a bare loop on one thread, median of up to {repeats} pairs",
        title_justify="left",
    )
    for column in ("loop", "ratio", "least", "largest", "bare seconds", "target"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    with one_thread():
        for loops in LOOPS:
            with contextlib.suppress(MissingExtraError):  # the table shows what can be measured
                for row in loops():
                    if only in row.name:
                        figures = ratio(row.ours, row.bare, repeats)
                        table.add_row(row.name, *(f"{figure:.3f}" for figure in figures), f"<= {row.target}")
    return table


def ratio(ours: Callable[[], object], bare: Callable[[], object], repeats: int) -> tuple[float, float, float, float]:
    """Median, least and largest of ours over the bare loop, run in turn; bare seconds.

    Seconds are those of the processor, which a busy machine stretches less than those of the clock. Slow loops are
    stopped early, after at least three pairs.
    """
    pairs, began = [], time.perf_counter()
    for _ in range(repeats + 1):
        pairs.append((_seconds(ours), _seconds(bare)))
        if len(pairs) > 3 and time.perf_counter() - began > LONGEST:
            break
    pairs = pairs[1:]  # the first pair warms caches
    paired = [a / b for a, b in pairs]
    return statistics.median(paired), min(paired), max(paired), statistics.median(b for _, b in pairs)


def _seconds(job: Callable[[], object]) -> float:
    began = _spent()
    job()
    return _spent() - began


def _spent() -> float:
    """Seconds of the processor for this process and for those it has waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, as ratios of other numbers depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
