"""The place of a run's results: what may be replaced, what is refused before any work, what is never touched."""

import json
import os
import stat
from pathlib import Path

import pytest

from guidekit.errors import UnknownNameError
from guidekit.running.folder import OutputError, RunFolder, output_path
from guidekit.running.lock import LockedError

VERSIONS = {"guidekit": "1", "source": "a", "torch": "2"}


def identity(**settings):
    return {"settings": {"seed": 0} | settings, "files": {}, "code": {}, "versions": VERSIONS}


def run(path, made_by=None, work=None, text="results", **options):
    """A whole run; `work` is done while it is at work."""
    folder = RunFolder(path, made_by or identity(), **options)
    if not folder.finished:
        (folder.chunks / "guided-000000-000001.safetensors").write_bytes(b"samples")
        if work is not None:
            work()
        folder.begin_results()
        (folder.results / "samples.csv").write_text(text)
        (folder.results / "more").mkdir(exist_ok=True)
        (folder.results / "more" / "one.txt").write_text(text)
        folder.complete({"label": "a run"})
    return folder


def interrupted(path, made_by=None, **options):
    folder = RunFolder(path, made_by or identity(), **options)
    (folder.chunks / "guided-000000-000001.safetensors").write_bytes(b"samples")
    assert folder.abandon()
    return folder


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def another(out, seed=1):
    """A finished run, moved here."""
    run(out.parent / "made" / "run", identity(seed=seed))
    (out.parent / "made" / "run").rename(out)
    (out.parent / "made").rmdir()


def foreign_folder(out):
    out.mkdir()
    (out / "thesis.tex").write_text("years")


def old_record(out):
    """A run.json that lists no files proves nothing."""
    out.mkdir()
    (out / "run.json").write_text("{}")
    (out / "thesis.tex").write_text("years")


def with_notes(out):
    another(out)
    (out / "notes.txt").write_text("mine")


def with_notes_below(out):
    another(out)
    (out / "more" / "notes.txt").write_text("mine")


def edited(out):
    another(out)
    (out / "samples.csv").write_text("annotated by hand")


def with_a_link(out):
    another(out)
    (out / "data").symlink_to(out.parent)


def listing_what_is_not_its_own(out):
    """A record that somebody else has written, with a file outside of the folder and one that is not as listed."""
    foreign_folder(out)
    (out.parent / "precious").write_text("keep")
    record = {"files": {"../precious": "0", "thesis.tex": "0"}, "made_by": identity(seed=1)}
    (out / "run.json").write_text(json.dumps(record))


def dangling(out):
    out.symlink_to(out.parent / "nowhere")


def link_to_folder(out):
    foreign_folder(out.parent / "elsewhere")
    out.symlink_to(out.parent / "elsewhere")


def link_to_run(out):
    run(out.parent / "elsewhere", identity(seed=1))
    out.symlink_to(out.parent / "elsewhere")


def plain_file(out):
    out.write_text("a file")


def partial_is_a_file(out):
    out.with_name("run.partial").write_text("a file")


def partial_is_foreign(out):
    foreign_folder(out.with_name("run.partial"))
    (out.with_name("run.partial") / "lock").write_text("mine")


def partial_is_a_link(out):
    foreign_folder(out.parent / "elsewhere")
    out.with_name("run.partial").symlink_to(out.parent / "elsewhere")


STANDING = [
    foreign_folder, old_record, with_notes, with_notes_below, edited, with_a_link, listing_what_is_not_its_own,
    dangling, link_to_folder, link_to_run, plain_file, partial_is_a_file, partial_is_foreign, partial_is_a_link,
]  # fmt: skip


@pytest.mark.parametrize("overwrite", [False, True], ids=["plain", "overwrite"])
@pytest.mark.parametrize("standing", STANDING, ids=lambda make: make.__name__)
def test_what_is_not_guidekits_is_refused_before_the_work_and_left_as_it_was(standing, overwrite, tmp_path):
    standing(tmp_path / "run")
    before = everything(tmp_path)
    with pytest.raises(OutputError, match=r"output=") as told:
        run(tmp_path / "run", overwrite=overwrite)
    assert "\n" not in str(told.value)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("standing", [s for s in STANDING if "partial" not in s.__name__], ids=lambda s: s.__name__)
@pytest.mark.parametrize("overwrite", [False, True], ids=["plain", "overwrite"])
def test_what_appears_during_the_run_stays_and_the_results_go_beside_it(standing, overwrite, tmp_path):
    out = tmp_path / "run"
    seen = {}

    def appear():
        standing(out)
        seen.update({k: v for k, v in everything(tmp_path).items() if "partial" not in k})

    folder = run(out, work=appear, overwrite=overwrite)
    assert folder.placed == tmp_path / "run-2"
    assert (folder.placed / "samples.csv").read_text() == "results" and (folder.placed / "run.json").exists()
    after = everything(tmp_path)
    assert {name: after[name] for name in seen} == seen
    assert not (tmp_path / "run.partial").exists()


def test_a_folder_that_came_back_does_not_take_the_place_of_the_one_to_replace(tmp_path):
    out = tmp_path / "run"
    run(out, identity(seed=1))

    def swap():
        out.rename(tmp_path / "away")
        another(out, seed=2)

    assert run(out, overwrite=True, work=swap).placed == tmp_path / "run-2"
    assert json.loads((out / "run.json").read_text())["made_by"] == identity(seed=2)
    assert json.loads((tmp_path / "away" / "run.json").read_text())["made_by"] == identity(seed=1)


def test_a_file_that_comes_into_the_replaced_folder_in_the_last_moment_is_kept(tmp_path, monkeypatch):
    out = tmp_path / "run"
    run(out, identity(seed=1))
    original = os.rename

    def rename(source, target):
        if Path(source) == out:
            (out / "notes.txt").write_text("mine")
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        run(out, overwrite=True, text="new")
    assert (out / "notes.txt").read_text() == "mine" and (out / "samples.csv").read_text() == "new"
    assert not (tmp_path / "run.partial").exists()


def test_only_a_run_is_replaced_and_only_when_told(tmp_path):
    out = tmp_path / "run"
    run(out, identity(seed=1))
    with pytest.raises(OutputError, match="a finished run that was another: seed was 1, is 0; pass overwrite=true"):
        run(out)
    assert run(out, overwrite=True, text="new").placed == out
    assert (out / "samples.csv").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "run").mkdir()
    assert run(tmp_path / "run").placed == tmp_path / "run"


def test_a_finished_run_is_left_alone(tmp_path):
    out = tmp_path / "run"
    run(out)
    before = everything(tmp_path)
    assert run(out).finished and run(out, overwrite=True).finished
    (out / "notes.txt").write_text("mine")  # of no account, as nothing is replaced
    assert run(out, overwrite=True).finished
    (out / "notes.txt").unlink()
    assert everything(tmp_path) == before
    with pytest.raises(OutputError, match="this run, finished; pass overwrite=true"):
        run(out, resume="never")
    assert not run(out, resume="never", overwrite=True, text="again").finished
    assert (out / "samples.csv").read_text() == "again"
    with pytest.raises(UnknownNameError, match="auto, never"):
        run(out, resume="true")


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("settings", {"seed": 5}, "seed was 0, is 5"),
        ("settings", {"seed": 0, "reward": {"name": "qed"}}, "reward.name was None, is qed"),
        ("files", {"prior": "2"}, "the file of prior has changed"),
        ("code", {"mine": "2"}, "the code of mine has changed"),
        ("versions", VERSIONS | {"guidekit": "2"}, "guidekit was 1, is 2"),
        ("versions", VERSIONS | {"source": "b"}, "the code of guidekit has changed"),
    ],
)
def test_an_interrupted_run_that_was_another_is_refused_with_what_changed(part, value, said, tmp_path):
    out = tmp_path / "run"
    interrupted(out)
    before = everything(tmp_path)
    with pytest.raises(OutputError, match=said):
        run(out, identity() | {part: value})
    assert everything(tmp_path) == before
    assert run(out, identity() | {part: value}, overwrite=True).placed == out
    with pytest.raises(OutputError, match=f"a finished run that was another: {said.split(' was ')[0]}"):
        run(out)


def test_an_interrupted_run_is_not_taken_up_where_it_should_not(tmp_path):
    out = tmp_path / "run"
    interrupted(out)
    with pytest.raises(OutputError, match="leave out resume=never"):
        run(out, resume="never")
    assert run(out).placed == out


def test_an_unreadable_state_does_not_lose_the_samples_of_the_same_command(tmp_path):
    out = tmp_path / "run"
    state = interrupted(out).partial / "state.json"
    state.write_text(state.read_text()[:50])
    with pytest.raises(OutputError, match="no interrupted run"):
        run(out, identity(seed=1), overwrite=True)
    folder = RunFolder(out, identity())
    assert len(list(folder.chunks.iterdir())) == 1 and json.loads(state.read_text()) == identity()
    folder.abandon()


def test_foreign_files_in_the_working_folder_outlive_the_run(tmp_path):
    out = tmp_path / "run"
    partial = interrupted(out).partial
    for folder in (partial, next(partial.glob("chunks-*"))):
        (folder / "notes.txt").write_text("mine")
    run(out)
    assert (out / "samples.csv").exists()
    assert sorted(path.name for path in partial.rglob("*.txt")) == ["notes.txt", "notes.txt"]


def test_results_that_were_cut_short_are_written_again(tmp_path):
    out = tmp_path / "run"
    folder = interrupted(out)
    folder.results.mkdir()
    (folder.results / "samples.csv").write_text("res")
    (folder.results / ".samples.csv.12.part").write_text("re")
    (folder.results / "notes.txt").write_text("mine")
    run(out)
    assert (out / "samples.csv").read_text() == "results" and (out / "notes.txt").read_text() == "mine"
    assert not list(out.glob(".*")) and "notes.txt" not in json.loads((out / "run.json").read_text())["files"]


def test_a_live_run_is_never_called_interrupted(tmp_path):
    out = tmp_path / "run"
    folder = RunFolder(out, identity())
    for options in ({}, {"overwrite": True}, {"resume": "never", "overwrite": True}):
        with pytest.raises(LockedError, match="a run is at work in"):
            run(out, **options)
    assert not folder.abandon() and not list(tmp_path.iterdir())


def test_the_home_folder_is_expanded_and_no_folder_that_is_in_use_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_path("~/runs/a") == tmp_path / "runs" / "a"
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", "/", "./", "a/.."):
        with pytest.raises(OutputError, match="no folder of its own"):
            output_path(path)
    with pytest.raises(OutputError, match="output=~nobody-of-this-name"):
        output_path("~nobody-of-this-name/x")


def test_files_get_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        run(tmp_path / "run")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert modes == {0o640} and stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o750


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "run", tmp_path / ("x" * 300)):
        with pytest.raises(OSError):
            run(out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
