"""Tables in a terminal of 80 characters."""

import io

from rich.console import Console

from guidekit.reporting.table import comparison


def test_names_are_folded_and_never_cut():
    jobs = {f"seed={i},guidance.candidates={many}": {"molecular_weight": 300.0 + i} for i in (0, 1) for many in (4, 16)}
    console = Console(file=io.StringIO(), width=80)
    console.print(comparison(jobs, "4 jobs"))
    told = console.file.getvalue()
    assert "…" not in told and max(map(len, told.splitlines())) <= 80
    rows = [line.split("┃")[2:-1] for line in told.splitlines() if line.startswith("┃")]
    assert ["".join(cell.strip() for cell in column) for column in zip(*rows, strict=True)] == list(jobs)
