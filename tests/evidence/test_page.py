"""docs/methods.md is what its sources make it: names and tests exist, statuses follow from figures."""

import dataclasses
import re

import pytest

from guidekit import registry
from guidekit.evidence import page
from guidekit.evidence.claim import sources
from guidekit.evidence.rows import Row, has_test, resolves, rows
from guidekit.evidence.run import RECORDS, ROOT, run_claim
from guidekit.reporting.console import Console

ROWS = rows()
CLAIMS = sources()


def test_the_page_is_made_from_its_sources():
    assert page.PAGE.read_text() == page.text(), "run python -m guidekit.evidence.page"


def test_rows_are_all_there():
    assert [row.number for row in ROWS if not row.number.startswith("E")] == [str(n) for n in range(1, 105)]
    assert len({row.number for row in ROWS}) == len(ROWS)
    assert all(row.title and row.tier in "ABC" for row in ROWS[:104])


@pytest.mark.parametrize("row", [row for row in ROWS if row.names or row.planned], ids=lambda row: row.number)
def test_names_exist_and_planned_ones_do_not(row):
    assert [name for name in row.names if not resolves(name)] == []
    assert [name for name in row.planned if resolves(name)] == [], "it is there: move it to names"
    assert [test for test in row.oracles if not has_test(test, ROOT)] == []


def test_every_guidance_and_sampler_has_a_row():
    named = " ".join(name for row in ROWS for name in row.names)
    missing = [
        entry.attribute
        for group in ("guidance", "sampler")
        for entry in registry.entries(group).values()
        if not entry.package and not re.search(rf"\b{entry.attribute}\b", named)
    ]
    assert missing == []


@pytest.mark.parametrize("source", CLAIMS, ids=lambda source: source.stem)
def test_claims_agree_with_their_rows(source):
    claim, row = source.load(), next(row for row in ROWS if row.number == source.row)
    assert (claim.method, claim.tier) == (row.method, row.tier)
    assert [name for name in claim.provides if name not in row.names] == []
    assert [test for test in claim.oracles if "::" not in test or not has_test(test, ROOT)] == []


def test_every_record_has_its_claim():
    assert {path.stem for path in RECORDS.glob("*.json")} <= {source.stem for source in CLAIMS}


def test_names_resolve_with_their_arguments():
    assert resolves("guidance.CFG(negative=...)") and not resolves("guidance.CFG(positive=...)")
    assert resolves("evaluation.likelihood.bits_per_token") and not resolves("guidance.CGF") and not resolves("cfg")


def test_tests_are_found_by_their_source():
    assert has_test("tests/evidence/test_page.py: this one", ROOT)
    assert has_test("tests/evidence/test_page.py::test_tests_are_found_by_their_source", ROOT)
    assert not has_test("tests/evidence/test_page.py::test_none", ROOT)
    assert not has_test("tests/evidence/test_nothing.py", ROOT)


def test_statuses_follow_from_names_and_records(tmp_path):
    row = Row("7", "Toy", names=("guidance.CFG",), missing="an end")
    assert page.status(dataclasses.replace(row, names=(), planned=("toy",)), []) == "planned"
    assert page.summary(row, []) == "not run (no claim yet)"
    text = '''"""Toy."""
from guidekit.evidence.claim import Check, Claim

CHECKS = (Check("small", "error", most={most}),)
CLAIM = Claim(7, "Toy", ("guidance.CFG",), "A", "It is small.", ("exact",), CHECKS, lambda seed: {{"error": 0.5}})
'''

    def claims():
        return page.told(tmp_path, tmp_path)["7"]

    path = tmp_path / "007_toy.py"
    path.write_text(text.format(most=1))
    assert page.summary(row, claims()) == "not run"
    run_claim(claims()[0].source, [0, 1], tmp_path, Console(quiet=True))
    assert page.summary(row, claims()) == "not run"
    run_claim(claims()[0].source, [0, 1, 2], tmp_path, Console(quiet=True))
    assert page.summary(row, claims()) == "met"
    path.write_text(text.format(most=0.2))
    assert page.summary(row, claims()) == "not run" and "changed since" in page.section(row, claims())
    run_claim(claims()[0].source, [0, 1, 2], tmp_path, Console(quiet=True))
    assert page.summary(row, claims()) == "not met: small: 0.5 (0.5 to 0.5), asked at most 0.2"
    whole = page.text([row], {"7": claims()})
    assert "| an end |" in whole
    assert "0 met, 1 not met" in whole and "| small | 0.5 | 0.5 to 0.5 | at most 0.2 | not met |" in whole
    (tmp_path / "007b_toy.py").write_text(text.format(most=1))
    assert page.status(row, claims()) == "not met"  # one that was not run does not hide one that is not met
