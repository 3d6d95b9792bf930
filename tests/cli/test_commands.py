"""The command line, end to end: outputs, interruption, bad input."""

import csv
import json
import sys

import pytest

from guidekit.cli import main
from guidekit.cli.compose import compose
from guidekit.errors import UnknownNameError
from guidekit.installed import load_domain
from guidekit.objectives.objects import score
from guidekit.running.build import build_guidance, build_reward

SMALL = ["sample", "domain=molecules", "num_samples=3"]


def fails(capsys, *arguments):
    """The one line a command that is refused prints."""
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("guidekit: ") and "\n" not in error
    return error


def test_sample_writes_what_it_says(tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*SMALL, "reward=qed", "guidance=svdd", "guidance.candidates=3", f"output={out}"]) == 0
    printed = capsys.readouterr().out
    assert "unguided" in printed and "network calls" in printed and "seconds" in printed
    names = {path.name for path in out.iterdir()}
    assert {"samples.csv", "samples.smi", "samples.sdf", "unguided.csv", "run.json"} <= names
    rows = list(csv.DictReader((out / "samples.csv").open()))
    valid = [row for row in rows if row["valid"] == "True"]
    assert len(rows) == 3 and len((out / "samples.smi").read_text().splitlines()) == len(valid)
    assert all(row["reward"] == row["qed"] for row in valid)
    record = json.loads((out / "run.json").read_text())
    assert record["ledger"]["guided"]["network_rows"] > record["ledger"]["unguided"]["network_rows"] > 0
    assert record["config"]["guidance"]["candidates"] == 3
    if valid:
        assert (out / "figure.png").read_bytes()[:4] == b"\x89PNG"
    assert "exists, with a finished run that was another: reward.name was qed" in fails(capsys, *SMALL, f"output={out}")
    assert main([*SMALL, f"output={out}", "overwrite=true"]) == 0
    assert not (out / "unguided.csv").exists() and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_users_function_that_fails_is_counted(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "def rings(mol):\n    n = mol.GetRingInfo().NumRings()\n"
        "    if n > 2: raise RuntimeError('too many')\n    return n\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="rings raised RuntimeError"):
        assert main(["sample", "num_samples=12", "reward=mine:rings", "guidance=svdd", "output=run"]) == 0
    assert "the reward failed on" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "run.json").read_text())["ledger"]["guided"]["reward_failures"] > 0
    assert "no function in module mine named 'ring' (did you mean 'rings'?)" in fails(
        capsys, *SMALL, "reward=mine:ring"
    )
    assert "no module 'yours'" in fails(capsys, *SMALL, "reward=yours:f")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["smaple"], "did you mean 'sample'"),
        (["sample", "domain=molecule"], "did you mean 'molecules'"),
        (["sample", "guidance=svd"], "did you mean 'svdd'"),
        (["sample", "reward=qde"], "did you mean 'qed'"),
        (["sample", "sampler=heunn"], "did you mean 'heun'"),
        (["sample", "num_sample=3"], "did you mean 'num_samples'"),
        (["sample", "guidance=svdd", "guidance.candidate=3"], "did you mean 'guidance.candidates'"),
        (["sample", "num_samples"], "write key=value"),
        (["sample", "num_samples=0"], "at least 1"),
        (["sample", "particles=0", "reward=qed", "guidance=best_of_n"], "particles=0"),
        (["sample", "guidance=svdd"], "give reward="),
        (["sample", "guidance=svdd", "reward=qed", "guidance.candidates=0"], "candidates must be at least 1"),
        (["sample", "guidance=fk_steering", "reward=qed", "guidance.potential=sums"], "accepted: difference, max, sum"),
        (["sample", "guidance=dps", "reward=qed"], "needs a Gaussian process"),
        (["sample", "guidance=cfg"], "needs a conditional prior"),
        (["sample", "condition=1"], "made without conditions"),
        (["sample", "sampler=heun"], "needs a Gaussian process"),
        (["sample", "prior=defalt"], "did you mean 'default'"),
        (["sample", "prior=nowhere.safetensors"], "there is no checkpoint"),
        (["sample", "reward=similarity"], "needs reward.reference="),
        (["sample", "reward=similarity", "reward.reference=C1CC"], "ring closure"),
        (["sample", "reward=smarts", "reward.smarts=xx["], "xx["),
        (["sample", "reward=logp", "reward.low=4"], "window"),
        (["sample", "reward=sum"], "needs terms"),
        (["sample", "reward=sum", "reward.terms=[qed,dr2]"], "did you mean 'drd2'"),
        (["sample", "guidance=chain", "reward=qed", "guidance.of=[svd]"], "did you mean 'svdd'"),
        (["sample", "resume=true"], "resume=true; one of auto, never"),
        (["sample", "output=."], "no folder of its own"),
        (["evaluate", "samples=nowhere.smi"], "nowhere.smi"),
        (["train", "output=model.pt"], "output=<file>.safetensors"),
        (["bench", "suite=sped"], "did you mean 'speed'"),
        (["list", "guidances"], "did you mean 'guidance'"),
    ],
)
def test_bad_input_is_answered_in_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in fails(capsys, *arguments)
    assert not list(tmp_path.iterdir())  # nothing half-written


def test_evaluate_reads_lines_and_says_what_it_left_out(tmp_path, capsys):
    path = tmp_path / "some.smi"
    path.write_text("CCO\nc1ccccc1O\nC1CC\nCCO\n")
    settings = ["evaluate", f"samples={path}", f"output={tmp_path / 'figures.json'}"]
    assert "some.smi line 3" in fails(capsys, *settings, f"reference={path}")
    assert main([*settings, f"reference={path}", "on_error=skip"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 unreadable lines count as invalid; the first is line 3, 'C1CC' (ring closure)" in printed
    assert "1 unreadable lines are left out" in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["n"], figures["n_valid"]) == (4, 3)
    assert figures["uniqueness"] == pytest.approx(2 / 3) and figures["snn"] == 1.0


def test_list_names_everything(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name in ("molecules", "svdd", "fk_steering", "qed", "drd2", "first_hitting", "default", "band_infill"):
        assert name in printed


def test_hydra_flags_work(capsys):
    assert main(["sample", "--cfg", "job", "num_samples=7"]) == 0
    assert "num_samples: 7" in capsys.readouterr().out


def test_multirun_sweeps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["reward=qed", "guidance=best_of_n", "guidance.particles=2", "num_samples=2", "baseline=false"]
    assert main(["sample", *settings, "--multirun", "seed=0,1"]) == 0
    folders = sorted((tmp_path / "outputs").iterdir())
    seeds = [json.loads((folder / "run.json").read_text())["config"]["seed"] for folder in folders]
    assert sorted(seeds) == [0, 1]


def test_combined_rewards_and_chains_are_built():
    domain = load_domain("molecules")
    prior = domain.load_prior()
    config = compose("sample", ["reward=sum", "reward.terms=[qed,{name: logp, high: 4}]", "reward.weights=[1,0.5]"])
    reward = build_reward(domain, config["reward"])
    states = prior.encode(["CCO"])
    parts = [score(prior, one, states) for one in (domain.rewards["qed"], domain.rewards.make("logp", high=4.0))]
    assert float(score(prior, reward, states)) == pytest.approx(float(parts[0] + 0.5 * parts[1]))
    config = compose("sample", ["guidance=chain", "guidance.of=[{name: svdd, candidates: 2}, best_of_n]"])
    members = build_guidance(config["guidance"], reward).members
    assert [member.name for member in members] == ["SVDD", "BestOfN"] and members[0].candidates == 2
    with pytest.raises(UnknownNameError, match="did you mean 'candidates'"):
        build_guidance({**config["guidance"], "of": [{"name": "svdd", "candidate": 2}]}, reward)


def test_a_missing_extra_is_named(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("guidekit.domains.molecules")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    assert 'pip install "guidekit[molecules]"' in fails(capsys, *SMALL)
    assert main(["list", "domains"]) == 0
