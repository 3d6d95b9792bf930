"""The closing table of a run: rows that say something, and columns that are called what they are."""

import csv
import json
from pathlib import Path

import pytest

from guidekit.cli import main
from guidekit.core.ledger import Ledger
from guidekit.objectives.scoring import failures
from guidekit.running.output import SLOW, heading, worth_telling


def test_what_rewards_cost_is_told_where_it_is_worth_it():
    quick = Ledger(reward_calls=9, reward_seconds=0.5 * SLOW, seconds=1.0)
    slow = Ledger(reward_calls=9, reward_seconds=2 * SLOW, seconds=1.0)
    spared = Ledger(reward_calls=9, reward_repeated=1, reward_seconds=0.5 * SLOW, seconds=1.0)
    assert worth_telling([quick, Ledger(seconds=1.0)]) == set()
    assert worth_telling([quick, slow]) == {"objects a second"}
    assert worth_telling([spared, quick]) == {"share not scored again"}
    assert worth_telling([slow + spared]) == set(quick.throughput)


def test_a_part_alone_is_called_by_what_it_keeps():
    rules = {"keep": {"at": {1: "ATG"}}, "lead": None}
    assert heading("unguided", {"unguided": 0}, rules) == "rules kept"
    assert heading("unguided", {"unguided": 0}, rules | {"lead": "ATGC"}) == "rules kept, from the lead"
    assert heading("unguided", {"unguided": 0}, {"keep": None}) == "unguided"
    both = {"guided": 0, "unguided": 0}
    assert [heading(name, both, rules) for name in both] == list(both)


def test_the_table_of_a_run_says_so(tmp_path, capsys):
    words = ["sample", "domain=dna", "keep={at: {1: ATG}}", "num_samples=2", "steps=2", f"output={tmp_path / 'run'}"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "rules kept" in printed and "unguided" not in printed
    assert "unguided" in json.loads((tmp_path / "run" / "run.json").read_text())["figures"]


def test_failures_add_up_and_samples_without_a_reward_are_counted(tmp_path, monkeypatch, capsys):
    ledger = Ledger()
    for i, reason in enumerate(("returned NaN", "raised ValueError", "took longer than 1 s", "crashed", "ended")):
        ledger.count_failure(reason, times=i + 1)
    assert failures(ledger, "words").endswith("took longer than 1 s (3 times); and 9 for other reasons")
    ledger = Ledger(reward_failures=1, reward_reasons={"returned NaN": 1})
    assert failures(ledger, "words").endswith(": returned NaN (1 times)")

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("picky.py").write_text("def starts_with_a(dna):\n    return 1.0 if dna.startswith('A') else float('nan')\n")
    words = ["sample", "domain=dna", "reward=picky:starts_with_a", "reward.workers=0", "guidance=none", "steps=2"]
    with pytest.warns(UserWarning, match="returned NaN"):
        assert main([*words, "num_samples=8", "output=run"]) == 0
    with open("run/samples.csv") as file:
        failed = sum(row["reward"] == "-inf" for row in csv.DictReader(file))
    assert 0 < failed < 8
    assert json.loads(Path("run/run.json").read_text())["figures"]["unguided"]["valid without a reward"] == failed
    assert "valid without a" in capsys.readouterr().out
