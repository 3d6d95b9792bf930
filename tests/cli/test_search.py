"""`guidekit search`: the beam finds what is to be found, the budget holds, and nobody judges himself."""

import csv
import json
import math
import shlex

import pytest

from guidekit.cli import main
from guidekit.commands import search
from guidekit.search.beam import beam
from guidekit.search.space import Option, Space, space_of

SPACE = Space((Option("guidance.a", 0.01, 100.0, 0.1), Option("guidance.b", 1.0, 64.0, 2.0, whole=True)))


def hill(point):
    """Largest at a = 10, b = 16, on the grid of the moves."""
    return -abs(math.log10(point[0] / 10)) - 0.5 * abs(math.log2(point[1] / 16))


def run_beam(score, keep=2, rounds=8, tried=None):
    tried = {} if tried is None else tried
    for point in beam(SPACE, lambda: tried, keep, rounds):
        assert point not in tried
        tried[point] = score(point)
    return tried


def test_moves_multiply_one_option_within_its_bounds():
    assert SPACE.options[0].factor == 10 and SPACE.options[1].factor == 2
    assert SPACE.start == (0.1, 2.0)
    assert SPACE.moves((0.1, 2.0)) == [(1.0, 2.0), (0.01, 2.0), (0.1, 4.0), (0.1, 1.0)]
    assert SPACE.moves((100.0, 64.0)) == [(10.0, 64.0), (100.0, 32.0)]
    assert SPACE.settings((0.1, 2.0)) == {"guidance.a": 0.1, "guidance.b": 2}


def test_the_beam_climbs_and_stops_where_nothing_is_better():
    tried = run_beam(hill)
    best = max(tried, key=tried.get)
    assert best == (10.0, 16.0) and len(tried) < 5 * 7  # all points of the grid
    assert next(iter(tried)) == SPACE.start
    few = run_beam(hill, keep=1, rounds=1)
    assert set(few) == {SPACE.start, *SPACE.moves(SPACE.start)}


def test_the_beam_goes_on_where_it_was_and_passes_over_failures():
    tried, first = {}, run_beam(hill)
    for point in list(first)[:4]:
        tried[point] = first[point]
    assert run_beam(hill, tried=tried).keys() == first.keys()
    broken = run_beam(lambda point: math.nan if point[1] == 4 else hill(point))
    assert (0.1, 4.0) in broken and (0.1, 8.0) not in broken


def test_spaces_are_of_numbers_that_are_there():
    config = {"guidance": {"name": "x", "scale": None, "weight": 2.0, "draws": 8, "on": True, "of": [{"rate": 0.5}]}}
    found = space_of(config, {"scale": [0.1, 10], "guidance.of.0.rate": [0.1, 1]})
    assert [(one.name, one.start) for one in found.options] == [("guidance.scale", 1.0), ("guidance.of.0.rate", 0.5)]
    placed = found.placed(config, (3.0, 0.25))
    assert placed["guidance"]["scale"] == 3 and placed["guidance"]["of"][0]["rate"] == 0.25
    assert config["guidance"]["scale"] is None
    usual = space_of(config, {})
    assert [(one.name, one.low, one.high, one.whole) for one in usual.options] == [
        ("guidance.weight", 0.2, 20.0, False),
        ("guidance.draws", 2.0, 32.0, True),
        ("guidance.of.0.rate", 0.05, 5.0, False),
    ]


def test_optuna_finds_the_hill_and_goes_on():
    pytest.importorskip("optuna")
    from guidekit.search.bayesian import bayesian

    tried = {}
    for seed in (0, 1):
        for count, point in enumerate(bayesian(SPACE, lambda: tried, seed)):
            tried[point] = hill(point)
            if count == 11:
                break
    assert next(iter(tried)) == SPACE.start and 12 < len(tried) <= 24
    assert max(tried.values()) > hill(SPACE.start) + 1


SMALL = [
    "search",
    "domain=images",
    "task=superresolution",
    "task.input=[0,1]",
    "guidance=dps",
    "num_samples=1",
    "steps=3",
]
OPTIONS = "search.options={guidance.scale: [0.25, 4]}"


def test_a_search_keeps_to_its_budget_goes_on_and_tells_the_winner(tmp_path, capsys, monkeypatch):
    output = [f"output={tmp_path / 'found'}", OPTIONS]
    assert main([*SMALL, *output, "search.budget=13"]) == 0  # a trial of two samples takes 6
    table = list(csv.DictReader((tmp_path / "found" / "trials.csv").open()))
    assert [one["network_rows"] for one in table] == ["6", "6"]
    asked, original = [], search.tried

    def tried(job, point, left):
        asked.append((point, left))
        return original(job, point, left)

    monkeypatch.setattr(search, "tried", tried)
    assert main([*SMALL, *output, "search.budget=18"]) == 0
    assert [left for _, left in asked] == [6, 0] and "2 trials are there" in capsys.readouterr().out
    table = list(csv.DictReader((tmp_path / "found" / "trials.csv").open()))
    assert [float(one["guidance.scale"]) for one in table] == [1, 2, 0.5]
    best = max(table, key=lambda one: float(one["value"]))
    words = shlex.split((tmp_path / "found" / "winner.sh").read_text())
    assert words[:2] == ["guidekit", "sample"] and f"guidance.scale={float(best['guidance.scale'])}" in words
    record = json.loads((tmp_path / "found" / "search.json").read_text())
    assert len(record["trials"]) == 3
    assert main([*SMALL, *output, "search.budget=18", "steps=4"]) == 2  # another search
    assert main([*words[1:], "baseline=false", "num_samples=1", f"output={tmp_path / 'sampled'}"]) == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["guidance=dps"], "no numeric setting"),
        (["guidance=none"], "guidance= is needed"),
        (["guidance=dps", "search.options={scal: [1, 2]}"], "did you mean 'guidance.scale'"),
        (["guidance=dps", "search.options={scale: [2, 1]}"], "0 < low < high"),
        (["guidance=dps", "search.options={scale: 3}"], "[low, high]"),
        (["guidance=dps", "search.options=3"], "a mapping"),
        (["guidance=dps", OPTIONS, "search.budget=5"], "below one trial"),
        (["guidance=dps", OPTIONS, "search.method=optunna"], "did you mean 'optuna'"),
        (["guidance=dps", OPTIONS, "search.metric=misfit"], "judge by snr"),
    ],
)
def test_searches_that_cannot_work_are_refused_in_one_line(settings, said, tmp_path, capsys):
    assert main([*SMALL[:4], *SMALL[5:], *settings, f"output={tmp_path / 'none'}"]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error and not (tmp_path / "none").exists()


def test_a_reward_that_guides_does_not_judge(tmp_path, capsys):
    settings = ["domain=molecules", "reward=qed", "guidance=svdd", "steps=4", "search.options={alpha: [0.01, 1]}"]
    assert main(["search", *settings, "search.metric=qed", f"output={tmp_path / 'none'}"]) == 2
    assert "is what guides" in capsys.readouterr().err
