"""The cards that ship: the page and the labels of `guidekit list guidance` are made of them."""

import json

from guidekit.bench import certified, posterior
from guidekit.cli import main
from guidekit.running import catalog


def test_the_page_is_made_of_the_cards():
    record, page = json.loads(certified.FILE.read_text()), certified.PAGE.read_text()
    assert certified.with_tables(page, record) == page, "run python -m guidekit.bench.certified"
    assert record["labels"] == posterior.labels(record["cards"]) == catalog.labels()


def test_what_is_said_to_be_calibrated_covers_what_it_should():
    cards = json.loads(certified.FILE.read_text())["cards"]
    for title in ("mmps", "daps field", "field_correction"):
        for name, steps in cards[title].items():
            one = steps["20"]["card"]
            assert 0.88 <= one["coverage"] <= 0.92 and 0.95 <= one["spread"] <= 1.1, (title, name)


def test_the_list_has_the_word(capsys):
    assert main(["list", "mmps"]) == 0
    printed = capsys.readouterr().out
    assert "posterior" in printed and catalog.labels()["mmps"] in printed
