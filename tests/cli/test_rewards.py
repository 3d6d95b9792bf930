"""Rewards of users on the command line: useless ones stop before sampling, others never stop a run."""

import csv
import json
import math
import os

import pytest
from rdkit import Chem

from guidekit.cli import main
from guidekit.installed import load_domain
from guidekit.objectives.worker import attempt_all
from guidekit.running.build import build_reward

REWARDS = """
import os

def raises(mol): raise KeyError("no such dose")
def none(mol): return None
def quits(mol): raise SystemExit(4)
def two(mol, other): return 1.0
def infinite(mol): return float("inf")
def dies(mol):
    if mol.GetNumAtoms() % 3 == 0: os._exit(9)
    return float(mol.GetNumAtoms())
def moves(mol):
    os.chdir("/")
    return float(mol.GetNumAtoms())
def same(mol): return 0.5
def listed(mols):
    assert isinstance(mols, list)
    return [float(mol.GetNumAtoms()) for mol in mols]
def declared(mols): return listed(mols)
declared.batched = True
def short(mols): return [1.0]
def partly(mols): return [float("nan") if mol.GetNumAtoms() % 2 else 1.0 * mol.GetNumAtoms() for mol in mols]
def large(mol): return 1e308 if mol.GetNumAtoms() % 2 else -1e308
"""

SAMPLE = ["sample", "guidance=best_of_n", "guidance.particles=4", "num_samples=6", "steps=32", "output=run"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "users_rewards.py").write_text(REWARDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("raises", [], "raised KeyError: 'no such dose'"),
        ("raises", ["reward.workers=0"], "raised KeyError: 'no such dose'"),
        ("none", [], "returned None"),
        ("quits", ["reward.workers=0"], "raised SystemExit: 4"),
        ("two", [], "raised TypeError: two() missing 1 required positional argument"),
        ("infinite", [], "returned plus infinity"),
    ],
)
def test_a_useless_reward_stops_before_sampling(folder, capsys, name, settings, reason):
    assert main([*SAMPLE, f"reward=users_rewards:{name}", *settings]) == 2
    said = capsys.readouterr().err
    assert f"reward users_rewards:{name} failed on all 4 molecules it was tried on: {reason}" in said
    assert said.count("\n") == 1 and [path.name for path in folder.iterdir() if "run" in path.name] == []


def test_it_is_found_within_a_sum(folder, capsys):
    terms = "reward.terms=[qed,{name: function, path: users_rewards:none, workers: 0}]"
    assert main([*SAMPLE, "reward=sum", terms]) == 2
    assert "reward users_rewards:none failed on all 4" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:reward")
@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("dies", [], "they score minus infinity: ended its process (exit code 9)"),
        ("moves", ["reward.workers=0"], ""),
        ("same", [], "reward same was 0.5 for all"),
        ("large", [], ""),
    ],
)
def test_others_never_stop_a_run(folder, capsys, name, settings, said):
    assert main([*SAMPLE, f"reward=users_rewards:{name}", *settings]) == 0
    assert said in capsys.readouterr().out and os.getcwd() == str(folder)
    with (folder / "run" / "samples.csv").open() as file:
        values = [float(row["reward"]) for row in csv.DictReader(file)]
    assert len(values) == 6 and not any(math.isnan(value) for value in values)
    ledger = json.loads((folder / "run" / "run.json").read_text())["ledger"]["guided"]
    assert (ledger["reward_failures"] > 0) == (name == "dies")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("reward.timeout=0", "timeout=0"),
        ("reward.timeout=soon", "a number above 0 or null is needed"),
        ("reward.workers=-2", "workers=-2"),
    ],
)
def test_settings_out_of_range_are_refused(folder, capsys, setting, said):
    assert main([*SAMPLE, "reward=users_rewards:same", setting]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:reward")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("name", "settings"), [("listed", ["reward.batch=true"]), ("declared", [])])
def test_functions_of_lists(folder, capsys, name, settings, workers):
    command = [*SAMPLE, "baseline=false", f"reward=users_rewards:{name}", f"reward.workers={workers}", *settings]
    assert main(command) == 0
    with (folder / "run" / "samples.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["valid"] == "True"]
    for row in rows:
        assert float(row["reward"]) == Chem.MolFromSmiles(row["smiles"]).GetNumAtoms()
    ledger = json.loads((folder / "run" / "run.json").read_text())["ledger"]["guided"]
    assert ledger["reward_calls"] > 0 and ledger["reward_failures"] == 0


def test_lists_that_are_none(folder, capsys):
    assert main([*SAMPLE, "reward=users_rewards:short", "reward.batch=true"]) == 2
    assert "failed on all 4 molecules it was tried on: returned 1 numbers for a list of 4" in capsys.readouterr().err
    assert main([*SAMPLE, "reward=users_rewards:raises", "reward.batch=true"]) == 2
    assert "raised KeyError: 'no such dose'" in capsys.readouterr().err
    two, four = (Chem.MolFromSmiles("C" * n) for n in (3, 4))
    import users_rewards

    assert attempt_all(users_rewards.partly, [two, four]) == ["returned NaN", 4.0]


def test_names_and_functions_in_sums_and_distinct_samples(folder, capsys):
    """The picture and the table are titled with the parts; figures are of all samples, files of distinct ones."""
    terms = ["reward=sum", "reward.terms=[qed,users_rewards:same,{name: logp, low: 1, high: 2}]", "num_samples=40"]
    plain = ["sample", "guidance=none", "steps=32", "output=run", "unique=true", "reward.weights=[1,0.5,-0.1]"]
    assert main([*plain, *terms]) == 0
    with (folder / "run" / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [row["canonical"] for row in rows]
    record = json.loads((folder / "run" / "run.json").read_text())["figures"]["unguided"]
    assert len(names) == len(set(names)) == record["written"] and all(row["valid"] == "True" for row in rows)
    assert record["written"] == 40  # of more that were drawn, as not all are valid
    assert "distinct valid samples; more are drawn" in capsys.readouterr().out
    few = ["keep={contains: 'C[*]', heavy_atoms: 2, elements: CN, single: true}", "output=few", "length=2"]
    assert main(["sample", "num_samples=6", "unique=true", "baseline=false", "steps=4", *few]) == 0
    with (folder / "few" / "samples.csv").open() as file:
        assert 1 <= len(list(csv.DictReader(file))) < 6  # there are no six: drawing ends after a few rounds
    assert capsys.readouterr().out.count("more are drawn") == 3
    assert len((folder / "run" / "samples.smi").read_text().split("\n")) == len(names) + 1
    domain = load_domain("molecules")
    made = build_reward(domain, {"name": "sum", "terms": ["qed", "users_rewards:same"], "weights": [1, 0.5]})
    assert made.name == "qed + 0.5 same"
    assert main(["sample", "domain=images", "task=inpaint", "task.input=0", "guidance=replacement", "unique=true"]) == 2
    assert "unique=true would leave out draws" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("reward=./judge.sh", "a program is a reward by reward=command reward.command=./judge.sh"),
        ("reward=mine.py:plain", "'mine.py:plain' names a file; write its module, as in mine:plain"),
        ("reward=own/mine.py:plain", "as in own.mine:plain"),
        ("reward=smarts reward.smarts=xyz[", """needs quotes: 'reward.smarts="xyz["'"""),
        ("domain=dna reward=motif", "reward=motif needs reward.motif=, a text\n"),
        ("reward=qed guidance=noise_search", "take reach=1 (guidance.reach=1), which starts every run anew"),
        ("reward=qed guidance=dps", "this prior (molecules prior default) has none: use guidance=best_of_n, "),
    ],
)
def test_what_is_refused_says_what_would_do(settings, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = settings.split(" ")
    words = words if any(word.startswith("domain=") for word in words) else ["domain=molecules", *words]
    assert main(["sample", *words, "num_samples=2", "steps=2", "baseline=false"]) == 2
    (line,) = capsys.readouterr().err.splitlines(keepends=True)
    assert told in line
