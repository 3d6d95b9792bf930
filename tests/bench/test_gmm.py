"""`guidekit bench gmm`: the protocol's problems, grid and score."""

import json
import math

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.bench import gmm, gmm_problem
from guidekit.cli import main


@pytest.mark.parametrize("variance", [1.0, 4.0])
def test_the_denoiser_is_that_of_the_mixture(variance):
    one = gmm_problem.problem(8, 2, 0, variance)
    same = gk.priors.GaussianMixture(one.prior.means, variance**0.5, one.prior.log_w.exp(), gmm_problem.PROCESS)
    x = 5 * torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for index in (3, 300, 999):
        t = index / 999
        assert torch.allclose(one.prior.predict(x[:, None], t).mean[:, 0], same.predict(x, t).mean, atol=1e-9)


@pytest.mark.parametrize("variance", [1.0, 4.0])
def test_exact_draws_are_from_the_posterior(variance):
    one = gmm_problem.problem(8, 2, 1, variance)
    prior = gk.priors.GaussianMixture(one.prior.means, variance**0.5, one.prior.log_w.exp(), gmm_problem.PROCESS)
    law = prior.posterior(gk.objectives.LinearGaussian(one.a, one.y[0], one.std))
    std = law.covariance().diagonal().sqrt()
    torch.testing.assert_close(one.exact.T.cov(), law.covariance(), atol=0.15 * float(std.max() ** 2), rtol=0)
    assert ((one.exact.mean(0) - law.mean()).abs() < 4.5 * std / math.sqrt(len(one.exact))).all()
    assert one.distance(one.exact[: gmm.SAMPLES]) == 0 < one.distance(one.exact[gmm.SAMPLES :]) < 0.6
    assert math.isnan(one.distance(one.exact[: gmm.SAMPLES] * math.inf))
    shifted = one.exact[: gmm.SAMPLES] + one.slices[:, 0]  # each slice moves by its cosine to the first
    assert one.distance(shifted) == pytest.approx(float((one.slices.T @ one.slices[:, 0]).abs().mean()), rel=1e-6)


@pytest.mark.parametrize("steps", [20, 100])
def test_the_grid_has_the_levels_of_the_measurement(steps):
    values, std = [0.9, 0.3], 0.2
    found = gmm_problem.times(values, std, steps)
    assert found[0] == 1 and found[-1] == 0 and abs(len(found) - 1 - steps) <= 1
    assert all(u < t for t, u in zip(found, found[1:], strict=False))
    levels = [gmm_problem.PROCESS.level(t) for t in found[:-1]]
    for value in values:
        assert min(abs(math.log(level * value / std)) for level in levels) < 0.13  # between two indices
    signal = np.array([gmm_problem.PROCESS.coefficients(t)[0] for t in found])
    gaps = np.diff(signal)
    assert gaps.max() < 2.1 / steps


def test_cells_are_written_completed_and_failures_counted(tmp_path, capsys, monkeypatch):
    output = tmp_path / "cells.json"
    settings = ["bench", "gmm", "d=8", "dy=2", "problems=2", "steps=3", f"output={output}"]
    assert main([*settings, "guidances=[dps]"]) == 0
    printed = capsys.readouterr().out
    assert "MCGDiff" not in printed.split("exact draws")[0] and "dps" in printed
    record = json.loads(output.read_text())["cells"]
    assert len(record["dps"]["3"]["8,2"]["values"]) == 2 and record["dps"]["3"]["8,2"]["rows"] in (2, 3, 4)
    assert len(record["exact draws"]["0"]["8,2"]["values"]) == 2
    monkeypatch.setattr(gmm, "measured", lambda *given: pytest.fail("measured again"))
    assert main([*settings, "guidances=[dps]"]) == 0
    assert gmm.shown({"values": [1.0, None, 3.0]}) == "2.00+-1.96 (1 failed)"
    assert gmm.shown({"refused": "why"}) == "n/a" and gmm.shown({}) == "-"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("d=9", "8, 80, 800"),
        ("dy=[3]", "1, 2, 4"),
        ("problems=1", "2 at least"),
        ("particles=300", "a divisor of 2000 is needed, such as 1000 x 2"),
        ("variance=0", "a number above 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting, said, capsys):
    assert main(["bench", "gmm", setting]) == 2
    assert said in capsys.readouterr().err


def test_references_stand_beside(capsys):
    table = gmm.table({}, ["dps"], ["8,1", "800,4"], 20)
    assert len(table.rows) == 1 + len(gmm.REFERENCES) and len(table.columns) == 4


def test_all_particles_of_a_filter_are_samples_and_passes_are_counted(capsys):
    """Twisted SMC is near the exact posterior, where the prior is not; 20 calls, dy backward passes each."""
    settings = ["d=8", "dy=2", "problems=2", "steps=20", "particles=100", "groups=1", "guidances=[twisted_smc]"]
    assert main(["bench", "gmm", *settings]) == 0
    printed = capsys.readouterr().out
    assert "20 + 40" in printed and "passes a sample" in printed
    few = gmm.Protocol(problems=2, particles=500, groups=1)
    solvers = {one.title: one for one in gmm.chosen(["twisted_smc", "mcgdiff"], gmm.FILTERS)}
    told = gmm.measured(solvers["twisted_smc"], 8, 4, 20, few)
    assert max(told["values"]) < 0.4 and (told["rows"], told["backward"]) == (20, 80)
    told = gmm.measured(solvers["mcgdiff"], 8, 4, 20, few)
    assert max(told["values"]) < 3 and told["backward"] == 0 and abs(told["rows"] - 20) <= 1


def test_samples_are_drawn_by_weight():
    x = torch.arange(8.0)[:, None]
    weights = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]).double().log()
    result = gk.sampling.Result(x, weights, torch.zeros(2), None, {})
    assert gmm.unweighted(result, 0).flatten().tolist() == [0, 0, 1, 1, 7, 7, 7, 7]


def test_groups_are_pooled_by_their_evidence(monkeypatch):
    """Twenty groups of a hundred: with their evidence they are one population; and it is asked for."""
    solver = {one.title: one for one in gmm.chosen(["twisted_smc"], gmm.FILTERS)}["twisted_smc"]
    seen = []
    monkeypatch.setattr(gmm, "pooled", lambda result: seen.append(result) or gk.pooled(result))
    told = gmm.measured(solver, 8, 4, 20, gmm.Protocol(problems=2, particles=100, groups=20, pooled=True))
    assert len(seen) == 2 and seen[0].log_normalizer.std() > 0 and max(told["values"]) < 0.4
