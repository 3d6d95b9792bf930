"""`guidekit bench suite=guidance`: figures of several guidances on one prior."""

import io
import json
import statistics

import pytest

from guidekit.bench import guidance
from guidekit.cli import main
from guidekit.reporting.console import Console

SMALL = ["bench", "suite=guidance", "domain=dna", "each=2", "steps=4"]


@pytest.fixture
def counted(monkeypatch):
    """What was measured: (guidance, seed), with figures made up of them."""
    asked = []

    def measured(plan, plug, seed):
        asked.append((None if plug is None else plug.weight, seed))
        weight = 0.0 if plug is None else plug.weight
        return {"gc": weight + seed, "checksum": "a", "network rows": 4.0, "seconds": 1.0}

    monkeypatch.setattr(guidance, "measured", measured)
    return asked


def test_a_comparison_runs_and_counts_what_it_cost(tmp_path, capsys):
    settings = ["guidances=[none,{name: cfg, weight: 3}]", f"output={tmp_path / 'found.json'}"]
    assert main([*SMALL, *settings]) == 0
    printed = capsys.readouterr().out
    assert "4 sequences each" in printed and "cfg weight=3" in printed
    found = json.loads((tmp_path / "found.json").read_text())["figures"]
    rows = {name: seeds["0"]["network rows"] for name, seeds in found.items()}
    assert rows["cfg weight=3"] == 2 * rows["none"] > 0
    assert found["none"]["0"]["n"] == 4 and found["none"]["0"]["mean_gc"] != found["cfg weight=3"]["0"]["mean_gc"]


def test_the_table_has_mean_and_standard_deviation_of_the_seeds(counted, capsys):
    assert main([*SMALL, "guidances=[{name: cfg, weight: 2.5}]", "seeds=3", "seed=4", "figures=[gc]"]) == 0
    assert counted == [(2.5, 4), (2.5, 5), (2.5, 6)]
    assert f"7.500 +- {statistics.stdev([4, 5, 6]):.3f}" in capsys.readouterr().out


def test_rewards_that_some_samples_have_not_come_with_their_share():
    def drawn(found, figures):
        console = Console(width=120, file=io.StringIO())
        console.print(guidance.table(found, figures, "a few"))
        return console.file.getvalue()

    costs = dict.fromkeys(guidance.COSTS, 1.0)
    all_scored, some = ({"gc": 0.5, "reward": 0.9, "scored": share, **costs} for share in (1.0, 0.875))
    told = drawn({"svdd": [all_scored], "best_of_n": [some]}, ["reward"])
    assert "87.5 %" in told and "100.0 %" in told and "reward is the mean of the samples that have one" in told
    assert "scored" not in drawn({"svdd": [all_scored], "best_of_n": [all_scored]}, ["reward"])
    assert "scored" not in drawn({"best_of_n": [some]}, ["gc"])
    old = {"reward": 0.9, **costs}  # of a file that was begun before the share was kept
    assert "scored" not in drawn({"svdd": [old], "best_of_n": [some]}, ["reward"])


def test_a_file_of_figures_is_completed(counted, tmp_path):
    output = f"output={tmp_path / 'found.json'}"
    assert main([*SMALL, "guidances=[cfg]", output]) == 0
    assert main([*SMALL, "guidances=[none,cfg]", "seeds=2", output]) == 0
    assert counted == [(2.0, 0), (None, 0), (None, 1), (2.0, 1)]
    assert main([*SMALL, "guidances=[cfg]", "overwrite=true", output]) == 0
    assert counted[4:] == [(2.0, 0)]
    assert list(json.loads((tmp_path / "found.json").read_text())["figures"]) == ["cfg"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["guidances=[svd]"], "did you mean 'svdd'"),
        (["guidances=[{name: cfg, wieght: 2}]"], "did you mean 'weight'"),
        (["guidances=[cfg,cfg]"], "a list of different ones"),
        (["guidances=[]"], "a list of different ones"),
        (["seeds=0"], "seeds=0; a whole number of at least 1"),
        (["each=0"], "each=0; a whole number of at least 1"),
        (["conditions=[cat]"], "no value of label"),
        (["figures=[cg]"], "did you mean 'gc'"),
        (["output=nowhere/found.json"], "a folder that exists"),
    ],
)
def test_bad_input_is_answered_in_one_line(counted, settings, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, *settings]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_figures_of_other_settings_are_not_mixed_in(counted, tmp_path, capsys):
    output = f"output={tmp_path / 'found.json'}"
    assert main([*SMALL, output]) == 0
    assert main([*SMALL, "each=3", output]) == 2
    assert "repeat its settings" in capsys.readouterr().err
    (tmp_path / "found.json").write_text("[]")
    assert main([*SMALL, output]) == 2


EQUAL = ["bench", "guidance", "domain=molecules", "reward=qed", "each=4", "steps=6", "budget.network_calls=40"]
EQUAL += ["guidances=[{name: best_of_n, particles: fit},{name: svdd, candidates: fit},none]"]


def test_numbers_that_a_budget_pays_for_are_found(tmp_path):
    assert main([*EQUAL, f"output={tmp_path / 'found.json'}"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["figures"]
    best, svdd, none = found
    assert best.startswith("best_of_n particles=") and svdd.startswith("svdd candidates=") and none == "none"
    rows = [found[name]["0"]["network rows"] for name in found]
    assert rows[2] < 20 < min(rows[:2]) and max(rows[:2]) < 46
    assert found[best]["0"]["reward calls"] > 0 == found[none]["0"]["reward calls"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["budget.network_calls=1"], "1 takes more than budget.network_calls=1 a sample"),
        (["guidances=[none]"], "a number that is written as fit"),
        (["budget.network_calls=null"], "a number that is written as fit"),
        (["guidances=[{name: svdd, alpha: fit}]"], "its cost does not depend on it"),
        (["guidances=[{name: svdd, candidate: fit}]"], "did you mean 'candidates'"),
    ],
)
def test_budgets_that_cannot_be_are_refused(settings, said, capsys):
    assert main([*EQUAL, *settings]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1


def test_what_one_run_has_paid_for_is_not_free_for_the_next(tmp_path):
    """The same molecules are drawn twice in one process, and each run scores them itself."""
    words = ["bench", "guidance", "domain=molecules", "reward=qed", "each=2", "steps=3", "figures=[reward]"]
    for name in ("first", "second"):
        assert main([*words, "guidances=[{name: best_of_n, particles: 3}]", f"output={tmp_path / name}.json"]) == 0
    one, two = (json.loads((tmp_path / f"{name}.json").read_text())["figures"] for name in ("first", "second"))
    calls = [found["best_of_n particles=3"]["0"]["reward calls"] for found in (one, two)]
    assert calls[0] == calls[1] > 0
