"""`guidekit bench fkc`: the problem, its figures, and the order of the methods."""

import json

import pytest
import torch

import guidekit as gk
from guidekit.bench import fkc
from guidekit.cli import main


def test_exact_draws_have_the_masses_of_the_power():
    """Shares and the mean by drawing, and by weighing points of a square with the density of the mixture."""
    masses = fkc.masses()
    assert masses.sum() == pytest.approx(1) and masses.min() > 0.009
    x = fkc.exact(40_000, torch.Generator().manual_seed(1))
    shares = torch.bincount(fkc.nearest(x), minlength=fkc.MODES) / len(x)
    assert float((shares - masses).abs().sum()) / 2 < 0.02
    law = gk.priors.GaussianMixture(fkc.means(), fkc.WIDTH).marginal(0.0)
    grid = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(2)).double() * 2 * fkc.SIDE - fkc.SIDE
    weights = torch.softmax(fkc.POWER * law.log_prob(grid), 0)
    assert torch.allclose(weights @ grid, x.double().mean(0), atol=0.6)


def test_distances_of_points():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert fkc.wasserstein(x, x.flip(0) + torch.tensor([0.0, 2.0]), 1) == pytest.approx(2)
    assert fkc.wasserstein(x, 3 * x, 2) == pytest.approx(2**0.5)


def test_the_scaled_noise_finds_all_modes_and_the_score_of_the_target_does_not():
    names = ("scaled_noise_2m", "target_score")
    ours, reference = (fkc.measured(fkc.METHODS[name], 60, [0], particles=1000)[0] for name in names)
    assert ours["modes"] > 37 > reference["modes"] and ours["TV"] < 0.12 < reference["TV"]
    assert 1.3 * ours["W2"] < reference["W2"] and ours["ancestors"] > 3 * reference["ancestors"]


def test_cells_are_completed_and_wrong_settings_refused(tmp_path, capsys, monkeypatch):
    output = tmp_path / "cells.json"
    run = ["bench", "fkc", "steps=4", "seeds=2", "particles=50", f"output={output}"]
    assert main([*run, "guidances=[scaled_noise_2m]"]) == 0
    printed = capsys.readouterr().out
    assert "scaled_noise_2m" in printed and "50 particles" in printed
    cells = json.loads(output.read_text())["cells"]
    assert len(cells["scaled_noise_2m"]["4"]) == 2 and "0" in cells["exact draws"]
    monkeypatch.setattr(fkc, "measured", lambda *given: pytest.fail("measured again"))
    assert main([*run, "guidances=[scaled_noise_2m]"]) == 0
    assert main([*run, "guidances=[scaled]"]) == 2
    told = capsys.readouterr().err
    assert "scaled_noise" in told and len(told.strip().splitlines()) == 1
