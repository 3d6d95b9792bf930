"""Systems of particles: their energies, reference draws, priors and annealing."""

import dataclasses
import json
import math

import pytest
import torch

import guidekit as gk
from guidekit.bench.physics import annealing
from guidekit.bench.physics.prior import load, save, trained
from guidekit.bench.physics.reference import draws, forces
from guidekit.bench.physics.systems import SYSTEMS, double_well, lennard_jones, log_normalizer
from guidekit.cli import main
from guidekit.priors.checkpoints import CheckpointError


def icosahedron():
    """A particle in the middle of twelve, (13, 3), at distance 1."""
    golden = (1 + 5**0.5) / 2
    corners = [(0.0, p, q * golden) for p in (1, -1) for q in (1, -1)]
    corners = [c[k:] + c[:k] for c in corners for k in range(3)]
    corners = torch.tensor(corners, dtype=torch.float64)
    return torch.cat([torch.zeros(1, 3, dtype=torch.float64), corners / corners[0].norm()])


def test_the_least_energy_of_thirteen_particles_is_the_published_one():
    """-44.326801, the icosahedron (Hoare & Pal 1971, and all tables since)."""
    scales = torch.linspace(0.9, 1.1, 20_001, dtype=torch.float64)
    energies = lennard_jones(scales[:, None, None] * icosahedron())
    assert float(energies.min()) == pytest.approx(-44.326801, abs=1e-5)
    system, x = SYSTEMS["lj13"], icosahedron()[None]
    trap = 0.5 * float(x.square().sum())
    assert float(system.energy(x + 3.0)) == pytest.approx(2 * float(lennard_jones(x)) + trap)


def test_energies_of_wells():
    two = torch.tensor([[[0.0, 0.0], [4.0, 0.0]]], dtype=torch.float64)
    assert float(SYSTEMS["dw4"].energy(two)) == 0
    assert float(SYSTEMS["dw4"].energy(two * 5 / 4)) == pytest.approx(-4 + 0.9)
    assert float(double_well(torch.tensor([[[2.0]]]))) == 16 - 24 - 1
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    summed = float(torch.exp(-double_well(x[:, None, None])).sum()) * 12 / 4000
    assert log_normalizer(1.0) == pytest.approx(math.log(summed), abs=1e-9)


@pytest.mark.parametrize("name", ["dw4", "lj13"])
def test_reference_draws_obey_the_virial_theorem(name):
    """E[x . grad U] = T times the degrees of freedom, whatever the energy."""
    system = SYSTEMS[name]
    x = draws(system, system.hot, 800, 0, chains=200, burn=120, thin=10)
    assert x.shape == (800, *system.shape) and float(x.mean(1).abs().max()) < 1e-9
    virial = (x * forces(system, x)[1]).flatten(1).sum(1) / system.hot
    assert abs(float(virial.mean()) - system.freedom) < 4 * float(virial.std()) / 800**0.5
    again = draws(system, system.hot, 30, 1, chains=10, burn=6, thin=1)
    assert torch.equal(again, draws(system, system.hot, 30, 1, chains=10, burn=6, thin=1))


def test_reference_draws_of_one_number_are_exact():
    x = draws(SYSTEMS["double-well"], 1.0, 20_000, 0)[:, 0, 0]
    assert float((x > 0).double().mean()) == pytest.approx(0.8443, abs=0.01)  # by quadrature


def test_a_prior_turns_with_its_particles_and_is_kept(tmp_path):
    prior = trained(SYSTEMS["dw4"], 0.02, states=200)
    torch.nn.init.normal_(prior.network.head[1].weight)
    x = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0))
    x = x - x.mean(1, keepdim=True)
    turn, order = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), torch.tensor([2, 0, 3, 1])
    mean = prior.predict(x, 0.5).mean
    torch.testing.assert_close(prior.predict((x @ turn)[:, order], 0.5).mean, (mean @ turn)[:, order])
    assert float(mean.mean(1).abs().max()) < 1e-6
    path = save(prior, tmp_path)
    assert json.loads(path.with_suffix(".json").read_text())["temperature"] == 3.0
    torch.testing.assert_close(load("dw4", tmp_path).predict(x, 0.5).mean, mean)
    guidance = gk.guidance.FKCAnneal(2.0, particles=4, output="all")
    samples = gk.sample(prior, guidance, 2, 5).samples
    assert float(samples.mean(1).abs().max()) < 1e-5
    with pytest.raises(CheckpointError, match="docs/bench.md"):
        load("lj13", tmp_path)


def test_a_prior_of_many_steps_has_the_law_of_its_data():
    """Half a minute of the processor: the wells of one number, and their shares."""
    x = gk.sample(load("double-well"), None, 2000, 60, sampler=gk.samplers.DPMSolver(eta=1.0)).samples.double()
    true = draws(SYSTEMS["double-well"], 3.0, 2000, 5)
    assert annealing.apart(x.flatten(), true.flatten(), 1) < 0.15


def test_tables_are_completed_and_wrong_systems_refused(tmp_path, capsys, monkeypatch):
    output = tmp_path / "cells.json"
    run = ["bench", "physics", "systems=[double-well]", "steps=12", "particles=40", f"output={output}"]
    assert main([*run, "guidances=['scaled noise, 2M']"]) == 0
    printed = capsys.readouterr().out
    assert "log Z less exact" in printed and "40 particles" in printed and "tempered" not in printed
    assert main(run) == 0
    assert "tempered noise, no weights" in capsys.readouterr().out
    cells = json.loads(output.read_text())["cells"]
    assert set(cells) == {"double-well, T = 3", "double-well, T = 1"}
    assert main([*run, "temperatures=2.5", "guidances=['target score']"]) == 0
    assert "double-well, T = 2.5" in json.loads(output.read_text())["cells"]
    monkeypatch.setattr(annealing, "cell", lambda *given: pytest.fail("measured again"))
    assert main(run) == 0
    capsys.readouterr()
    for wrong, told in (("systems=[lj31]", "lj13"), ("guidances=[target]", "target score"), ("temperatures=4", "3")):
        assert main([*run, wrong]) == 2
        said = capsys.readouterr().err
        assert told in said and len(said.strip().splitlines()) == 1


def test_random_probes_take_backward_passes_and_exact_divergences_one_a_number():
    size = annealing.Size(particles=6, steps=4, probes=3)
    method = annealing.methods(1.2)["scaled noise, 2M"]
    prior = load("dw4")
    for probes, passes in ((3, 3), (0, 8)):
        guidance = annealing.corrector(method, 1.2, dataclasses.replace(size, probes=probes))
        assert gk.sample(prior, guidance, 1, 4, 0, method.sampler).ledger.backward_passes == 4 * passes
