"""Finished runs made again, extended, and swept over; what their records tell."""

import csv
import importlib.metadata
import json
import shutil

import pytest

from guidekit.cli import main

COMMAND = ["sample", "domain=molecules", "num_samples=3", "steps=16", "reward=qed", "guidance=none"]


def rows(path):
    with (path / "samples.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("again") / "run"
    assert main([*COMMAND, f"output={folder}"]) == 0
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def fails(capsys, *arguments):
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("guidekit: ") and "\n" not in error
    return error


def test_records_tell_command_and_versions(run):
    record = json.loads((run / "run.json").read_text())
    assert record["command"] == f"guidekit {' '.join([*COMMAND, f'output={run}'])}"
    assert record["versions"]["rdkit"] == importlib.metadata.version("rdkit")


def test_a_run_is_reproduced(copy, capsys):
    assert main(["reproduce", str(copy), "batch_size=1"]) == 0
    assert "files are the same as in" in capsys.readouterr().out
    assert rows(copy.with_name("run-again")) == rows(copy)
    record = json.loads((copy / "run.json").read_text())
    record["files"]["samples.csv"] = "0" * 64
    record["versions"]["rdkit"] = "2001.1"
    (copy / "run.json").write_text(json.dumps(record))
    assert main(["reproduce", str(copy)]) == 1  # done already, and compared all the same
    printed = capsys.readouterr().out
    assert "not the same as in" in printed and "samples.csv" in printed and "rdkit was 2001.1" in printed


def test_a_run_is_extended(copy, capsys):
    before = rows(copy)
    assert main(["extend", str(copy), "num_samples=5"]) == 0
    after = rows(copy)
    assert len(after) == 5 and after[:3] == before
    assert "num_samples=5; extend needs more of them" in fails(capsys, "extend", str(copy), "num_samples=5")
    record = json.loads((copy / "run.json").read_text())
    record["made_by"]["settings"]["steps"] = 17
    (copy / "run.json").write_text(json.dumps(record))
    assert "would not go on as it was: steps was 17, is 16" in fails(capsys, "extend", str(copy), "num_samples=9")
    assert rows(copy) == after


def test_other_folders_and_settings_are_refused(copy, tmp_path, capsys):
    assert "needs the folder of a run" in fails(capsys, "reproduce")
    assert "is no folder of a finished run" in fails(capsys, "reproduce", str(tmp_path))
    assert "is no folder of a finished run" in fails(capsys, "extend", str(tmp_path / "nowhere"))
    assert "did you mean 'num_samples'" in fails(capsys, "extend", str(copy), "num_sample=4")
    assert "a whole number of at least 1 is needed" in fails(capsys, "extend", str(copy), "num_samples=many")
    assert "is no setting; write key=value" in fails(capsys, "extend", str(copy), "9")
    assert "is the run itself" in fails(capsys, "reproduce", str(copy), f"output={copy}")
    assert "did you mean 'reproduce'" in fails(capsys, "reproduc", str(copy))


def test_sweeps_have_a_folder_a_job_and_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    swept = ["num_samples=2", "seed=0,1", "reward=qed,sa", f"output={tmp_path / 'sweep'}"]
    assert main([*COMMAND[:2], "--multirun", "steps=16", *swept]) == 0
    names = {f"seed={seed},reward={reward}" for seed in (0, 1) for reward in ("qed", "sa")}
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == names | {"summary.csv"}
    with (tmp_path / "sweep" / "summary.csv").open() as file:
        table = {row["job"]: row for row in csv.DictReader(file)}
    assert set(table) == names and table["seed=0,reward=qed"]["qed"] == table["seed=0,reward=sa"]["qed"]
    record = json.loads((tmp_path / "sweep" / "seed=1,reward=sa" / "run.json").read_text())
    assert record["config"]["seed"] == 1 and float(table["seed=1,reward=sa"]["valid"]) == pytest.approx(
        record["figures"]["unguided"]["valid"]
    )
    assert "4 jobs" in capsys.readouterr().out
