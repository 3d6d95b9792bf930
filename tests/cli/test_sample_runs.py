"""Runs of `guidekit sample` as users meet them: interrupted, repeated, with a folder that is taken."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from guidekit.cli import main
from guidekit.running import chunks

SMALL = ["sample", "domain=molecules", "num_samples=4", "batch_size=2", "steps=4"]
GUIDED = [*SMALL, "reward=qed", "guidance=svdd", "guidance.candidates=2"]


def refused(capsys, *arguments):
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("guidekit: ") and "\n" not in error
    return error


def results(folder):
    """Bytes of the files of a run, and its record without times."""
    record = json.loads((folder / "run.json").read_text())
    for ledger in record["ledger"].values():
        del ledger["seconds"], ledger["reward_seconds"]
    del record["config"]["output"], record["command"], record["throughput"]
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.json"}, record


def interrupting(monkeypatch, work, at="guided-000002"):
    """Do something before a chunk is written."""
    original = chunks.save_chunk

    def save_chunk(folder, name, chunk):
        if f"{name}-{chunk.begin:06d}" == at:
            monkeypatch.setattr(chunks, "save_chunk", original)
            work()
        original(folder, name, chunk)

    monkeypatch.setattr(chunks, "save_chunk", save_chunk)


def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)


def ctrl_c():
    raise KeyboardInterrupt


def full_disk():
    raise OSError(28, "No space left on device", "chunk")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*GUIDED, f"output={folder}"]) == 0
    return folder


@pytest.mark.parametrize(("work", "code"), [(ctrl_c, 130), (sigterm, 143), (full_disk, 2)])
def test_the_same_command_goes_on(work, code, whole, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    interrupting(monkeypatch, work)
    capsys.readouterr()
    assert main([*GUIDED, f"output={out}"]) == code
    assert f"what is finished is kept in {out}.partial; the same command goes on from there" in capsys.readouterr().out
    assert main([*GUIDED, f"output={out}"]) == 0
    assert "guided: 2 of 4 samples are there" in capsys.readouterr().out
    assert results(out) == results(whole) and not (tmp_path / "run.partial").exists()


def test_the_same_command_is_done_where_it_is_finished_and_another_is_refused(whole, capsys):
    before = results(whole)
    assert main([*GUIDED, f"output={whole}"]) == 0
    assert capsys.readouterr().out.startswith("already done:")
    assert "seed was 0, is 5; pass overwrite=true" in refused(capsys, *GUIDED, f"output={whole}", "seed=5")
    assert results(whole) == before


def test_nothing_is_left_of_a_run_without_samples(tmp_path, capsys, monkeypatch):
    interrupting(monkeypatch, ctrl_c, at="unguided-000000")
    assert main([*SMALL, f"output={tmp_path / 'new' / 'run'}"]) == 130
    assert "nothing is kept" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_results_are_not_lost_while_they_are_written(tmp_path, capsys, monkeypatch):
    from guidekit.running import output

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(output, "write_csv", lambda *arguments: full_disk())
        assert "no space left" in refused(capsys, *SMALL, f"output={out}")
    assert not out.exists() and main([*SMALL, f"output={out}"]) == 0
    assert "unguided: 4 of 4 samples are there" in capsys.readouterr().out and (out / "samples.csv").exists()


def test_a_folder_that_appears_is_left_and_the_results_are_beside_it(tmp_path, capsys, monkeypatch):
    out = tmp_path / "[/red]run"

    def appear():
        out.mkdir()
        (out / "thesis.tex").write_text("years")

    interrupting(monkeypatch, appear)
    assert f"was taken while the run was at work; the results are in {out}-2" in refused(
        capsys, *GUIDED, f"output='{out}'"
    )
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    assert (tmp_path / "[/red]run-2" / "samples.csv").exists()
    assert "was not made by guidekit" in refused(capsys, *GUIDED, f"output='{out}'", "overwrite=true")


def test_another_code_of_the_reward_is_noticed(tmp_path, capsys, monkeypatch):
    (tmp_path / "worth.py").write_text("def f(mol):\n    return mol.GetNumAtoms()\n")
    monkeypatch.chdir(tmp_path)
    command = [*SMALL, "reward=worth:f", "guidance=best_of_n", "guidance.particles=2", "output=run"]
    interrupting(monkeypatch, ctrl_c)
    assert main(command) == 130
    (tmp_path / "worth.py").write_text("def f(mol):\n    return -mol.GetNumAtoms()\n")
    assert "the code of worth has changed" in refused(capsys, *command)


def test_folders_without_a_name_belong_to_their_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (SMALL, SMALL, [*SMALL, "seed=1"]):
        assert main(command) == 0
    assert len(list((tmp_path / "outputs").iterdir())) == 2


@pytest.mark.slow
def test_kill_9_at_random_moments(tmp_path):
    """Kills a real run until it is through, and compares with one that was not killed."""
    command = [sys.executable, "-m", "guidekit.cli", *GUIDED, "num_samples=16"]
    whole, out = tmp_path / "whole", tmp_path / "run"
    began = time.monotonic()
    subprocess.run([*command, f"output={whole}"], check=True, capture_output=True)
    seconds, draw = time.monotonic() - began, random.Random(0)
    for _ in range(2):
        process = subprocess.Popen([*command, f"output={out}"], stdout=subprocess.DEVNULL)
        time.sleep(seconds * draw.uniform(0.4, 1))
        process.kill()
        process.wait()
    subprocess.run([*command, f"output={out}"], check=True, capture_output=True)
    assert results(out) == results(whole) and not (tmp_path / "run.partial").exists()
