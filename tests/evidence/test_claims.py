"""Claims: what they are, how they are run, kept, interrupted and gone on with, and what follows from their figures."""

import dataclasses
import json
import math

import pytest

from guidekit.cli import main
from guidekit.evidence import record as records
from guidekit.evidence import run as running
from guidekit.evidence.claim import Check, Claim, ClaimError, chosen, sources
from guidekit.evidence.statistics import Estimate, estimate, holds, student_quantile, verdict
from guidekit.reporting.console import Console

TOY = '''"""A toy."""
import pathlib
from guidekit.evidence.claim import Check, Claim

CALLS = pathlib.Path(__file__).with_name("calls.txt")


def measure(seed):
    """A figure."""
    with CALLS.open("a") as file:
        file.write(f"{{seed}} ")
    if seed == {stops}:
        raise KeyboardInterrupt
    return {{"error": {figure}, "beside": 1.0}}


CHECKS = (Check("small", "error", most=1),)
CLAIM = Claim({row}, "Toy", ("guidance.CFG",), "A", "It is small.", ("exact",), CHECKS, measure)
'''


def toy(folder, name="007_toy.py", figure="0.1 * seed", stops=99, row=7):
    (folder / name).write_text(TOY.format(figure=figure, stops=stops, row=row))
    return next(source for source in sources(folder) if source.path.name == name)


def asked(folder):
    return [int(seed) for seed in (folder / "calls.txt").read_text().split()]


def test_quantiles_are_those_of_student():
    scipy = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 3, 4, 9, 30):
        for p in (0.6, 0.9, 0.975, 0.999):
            assert student_quantile(p, degrees) == pytest.approx(scipy.t.ppf(p, degrees), rel=1e-8)


def test_an_interval_covers_by_its_width():
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2 and found.interval == pytest.approx((2 - 2.48414, 2 + 2.48414), rel=1e-5)
    assert estimate([2.0, 2.0]).interval == (2, 2) and estimate([2.0]).interval is None


@pytest.mark.parametrize(
    ("bounds", "by", "expected"),
    [
        (dict(most=3), "interval", True),
        (dict(most=2.9), "interval", False),
        (dict(least=1), "interval", True),
        (dict(least=1.1), "interval", False),
        (dict(least=1, most=2.5), "interval", False),
        (dict(least=1.5, most=2.5), "mean", True),
        (dict(most=1.9), "mean", False),
    ],
)
def test_checks_hold_for_the_whole_interval_or_for_the_mean(bounds, by, expected):
    assert holds(Check("", "x", by=by, **bounds), Estimate((1.0, 3.0), 2.0, (1.0, 3.0))) is expected


def test_an_interval_of_one_value_and_few_seeds_decide_nothing():
    check = Check("", "x", most=5)
    assert not holds(check, estimate([1.0]))
    assert verdict([check], {"x": estimate([1.0, 1.0])}) == "not run"
    assert verdict([check], {}) == "not run"
    assert verdict([check], {"x": estimate([1.0, 1.0, 1.0])}) == "met"
    assert verdict([check, Check("", "x", least=2)], {"x": estimate([1.0] * 3)}) == "not met"


@pytest.mark.parametrize("bounds", [{}, dict(least=2, most=1), dict(most=math.nan), dict(least=1, by="median")])
def test_checks_that_bound_nothing_are_refused(bounds):
    with pytest.raises(ClaimError, match="check of x"):
        Check("", "x", **bounds)


def test_files_are_found_by_their_numbers(tmp_path):
    for name, row in (("010_b.py", 10), ("002_a.py", 2), ("002b_a.py", 2), ("E3_c.py", "'E3'"), ("helper.py", 2)):
        (tmp_path / name).write_text(TOY.format(figure="1", stops=99, row=row))
    found = sources(tmp_path)
    assert [(source.key, source.row, source.stem) for source in found] == [
        ("2", "2", "002"),
        ("2b", "2", "002b"),
        ("10", "10", "010"),
        ("E3", "E3", "E3"),
    ]
    assert [source.key for source in chosen(2, tmp_path)] == ["2", "2b"]
    assert [source.key for source in chosen(["E3", "2b"], tmp_path)] == ["E3", "2b"]
    with pytest.raises(ValueError, match="no claim for row named '11'"):
        chosen(11, tmp_path)
    assert isinstance(found[0].load(), Claim)
    with pytest.raises(ClaimError, match="claims something of row 4"):
        toy(tmp_path, "003_other.py", row=4).load()


def test_a_run_is_kept_seed_by_seed_and_goes_on(tmp_path):
    source, console = toy(tmp_path, stops=2), Console(quiet=True)
    with pytest.raises(KeyboardInterrupt):
        running.run_claim(source, [0, 1, 2], tmp_path, console)
    path = tmp_path / "007.json"
    kept = json.loads(path.read_text())
    assert kept["seeds"] == [0, 1] and kept["status"] == "not run" and asked(tmp_path) == [0, 1, 2]
    # the same text, so that the record is of the same claim, with nothing to stop it
    original = source.load().measure
    calm = dataclasses.replace(
        source.load(), measure=lambda seed: {"error": 0.2, "beside": 1.0} if seed == 2 else original(seed)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(source), "load", lambda self: calm)
        record = running.run_claim(source, [0, 1, 2], tmp_path, console)
    assert list(record.runs) == [0, 1, 2] and asked(tmp_path) == [0, 1, 2]
    whole = json.loads(path.read_text())
    assert whole["status"] == "met" and whole["figures"]["error"]["values"] == [0.0, 0.1, 0.2]
    assert whole["command"] == "guidekit bench evidence row=7 'seeds=[0, 1, 2]'" and len(whole["seconds"]) == 3
    assert {"guidekit", "torch", "processor", "threads", "source"} <= set(whole)
    assert records.read(path).figures() == record.figures()


def test_another_text_or_version_is_measured_anew(tmp_path):
    console = Console(quiet=True)
    running.run_claim(toy(tmp_path), [0, 1, 2], tmp_path, console)
    record = running.run_claim(toy(tmp_path, figure="2.0"), [0, 1, 2], tmp_path, console)
    assert asked(tmp_path) == [0, 1, 2] * 2 and record.status(toy(tmp_path, figure="2.0").load()) == "not met"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("guidekit.__version__", "9")
        running.run_claim(toy(tmp_path, figure="2.0"), [0, 1], tmp_path, console)
    assert asked(tmp_path)[6:] == [0, 1]
    running.run_claim(toy(tmp_path, figure="2.0"), [0], tmp_path, console, overwrite=True)
    assert asked(tmp_path)[8:] == [0]


@pytest.mark.parametrize("figure", ["float('nan')", "float('inf')"])
def test_what_is_no_number_is_refused(tmp_path, figure):
    with pytest.raises(ClaimError, match="error is no finite number"):
        running.run_claim(toy(tmp_path, figure=figure), [0], tmp_path, Console(quiet=True))
    assert not (tmp_path / "007.json").exists()


def test_a_file_that_is_no_record_is_told(tmp_path):
    (tmp_path / "007.json").write_text("{}")
    with pytest.raises(ClaimError, match="overwrite=true"):
        running.run_claim(toy(tmp_path), [0], tmp_path, Console(quiet=True))


def test_the_command_runs_a_claim(tmp_path, monkeypatch, capsys):
    toy(tmp_path)
    monkeypatch.setattr(running, "chosen", lambda rows: chosen(rows, tmp_path))
    arguments = ["row=7", "seeds=[0,1,2]", f"output={tmp_path}"]
    assert main(["bench", "evidence", *arguments]) == 0
    assert "met" in capsys.readouterr().out and asked(tmp_path) == [0, 1, 2]
    assert main(["bench", "suite=evidence", *arguments]) == 0 and asked(tmp_path) == [0, 1, 2]
    for wrong, words in (("seeds=[0,0]", "different whole numbers"), ("seeds=a", "whole numbers"), ("row=8", "row")):
        assert main(["bench", "evidence", f"output={tmp_path}", wrong]) == 2
        assert words in capsys.readouterr().err
