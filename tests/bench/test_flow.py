"""`guidekit bench flow`: the task, its equal costs, and its files."""

import json

import pytest
import torch

from guidekit.bench import flow
from guidekit.cli import main
from guidekit.objectives.operators.navier_stokes import random_vorticity


def test_truths_are_draws_from_the_field_that_is_their_prior():
    """Mean power of 800 draws of both at every low wave number; 5 standard errors of a ratio, exponential each."""
    truths = random_vorticity(800, 32, 7, flow.DECAY, flow.SCALE, flow.STD) / flow.STD
    prior = flow.field(32)
    draws = prior.sample(800, torch.Generator().manual_seed(0))[:, 0]
    there, here = (torch.fft.rfft2(x).abs().square().mean(0)[:6, 1:6] for x in (draws, truths))
    assert float((there / here).log().abs().max()) < 5 * (2 / 800) ** 0.5


def test_every_black_box_takes_as_many_solves_and_tables_are_completed(tmp_path, capsys, monkeypatch):
    output = tmp_path / "flow.json"
    run = ["bench", "flow", "size=32", "every=8", "noise=1", "problems=1", "solves=128", "particles=32"]
    assert main([*run, f"output={output}"]) == 0
    printed = capsys.readouterr().out
    cells = json.loads(output.read_text())["cells"]
    taken = {title: cell["8,1"]["0"]["solves"] for title, cell in cells.items()}
    assert taken.pop("dps") == flow.STEPS and set(taken.values()) == {128} and len(taken) == 7
    assert all(title in printed for title in cells)
    monkeypatch.setattr(flow, "measured", lambda *given: pytest.fail("measured again"))
    assert main([*run, f"output={output}"]) == 0
    capsys.readouterr()
    wrong = {"guidances=[mmps]": "svdd", "size=48": "size=48", "every=3": "every=3", "solves=100": "solves=100"}
    for setting, told in (wrong | {"prior=vortex": "vorticity", "prior=vorticity": "64"}).items():
        assert main([*run, setting]) == 2
        said = capsys.readouterr().err
        assert told in said and len(said.strip().splitlines()) == 1


def test_what_diverges_is_a_failure_and_the_others_count():
    cell = [{"error": 0.5, "solves": 3}, {"error": None, "solves": 3}, {"error": 0.7, "solves": 3}]
    assert flow.shown(cell) == "0.60+-0.14 (1 failed)"
    assert flow.shown(cell[1:2]) == "- (1 failed)" and flow.shown(cell[:1]) == "0.50"
