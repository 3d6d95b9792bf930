"""`guidekit bench suite=speed`: loops of ours beside the same by hand."""

import pytest
import torch

from guidekit.bench import loops, speed
from guidekit.bench.loops import Row

SMALL = {
    "mixture_loops": {"steps": 3, "rows": 2},
    "dps_on_a_mixture": {"steps": 3, "rows": 2},
    "molecule_loops": {"rows": 2},
    "caching": {"steps": 2},
    "first_order": {"steps": 2, "rows": 1},
    "joined": {"steps": 2, "rows": 1},
    "dps_on_images": {"steps": 2, "rows": 1},
}


@pytest.mark.parametrize("name", SMALL)
def test_every_row_runs(name):
    for row in getattr(loops, name)(**SMALL[name]):
        row.ours(), row.bare()


def test_dps_by_hand_is_that_of_the_library(monkeypatch):
    """On many rows: with a large scale, so that a wrong gradient on either side is seen."""
    monkeypatch.setattr(loops, "SCALE", 0.3)
    (row,) = loops.dps_on_a_mixture(steps=40, rows=4000)
    torch.manual_seed(0)
    ours, bare = row.ours().samples, row.bare()
    distances = [(a - b).abs().mean() for a, b in zip(ours.sort(0).values.T, bare.sort(0).values.T, strict=True)]
    assert max(distances) < 0.03, distances


def test_the_table_has_ratios_of_the_rows_that_are_asked_for(monkeypatch):
    calls = []

    def rows():
        threads = torch.get_num_threads
        return [
            Row("one", lambda: calls.append(threads()), lambda: torch.randn(500, 500) @ torch.randn(500, 500), 1.5),
            Row("other", calls.clear, lambda: None, 1.0),
        ]

    monkeypatch.setattr(speed, "LOOPS", [rows])
    table = speed.run(3, only="one")
    assert table.row_count == 1 and [column.header for column in table.columns][0] == "loop"
    assert calls == [1] * 4  # a first pair to warm up; one thread
