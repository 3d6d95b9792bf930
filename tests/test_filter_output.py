"""What a run with a particle filter says of itself: log Z and its error, lineages, a picture, a table."""

import json
import math

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.reporting import lineages, posterior
from guidekit.reporting.lineages import lines
from guidekit.running import particles


def test_evidence_by_hand():
    """Estimates 1 and 3: mean 2, standard deviation of their shares 1 / sqrt(2), over sqrt(2) groups."""
    total, error, effective = particles.evidence(torch.tensor([1.0, 3.0]).log())
    assert total == pytest.approx(math.log(2)) and error == pytest.approx(0.5) and effective == pytest.approx(1.6)
    assert math.isnan(particles.evidence(torch.zeros(1))[1])
    total, error, effective = particles.evidence(torch.full((3,), -math.inf))
    assert total == -math.inf and math.isnan(error) and effective == 0


@pytest.fixture
def figures(monkeypatch):
    """Figures as they are saved."""
    from matplotlib.figure import Figure

    saved, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: saved.append(self) or save(self, *args, **kwargs)
    )
    return saved


def test_bars_of_resampled_groups_have_a_scale(figures, tmp_path):
    fired = np.array([0.0, 2 / 3, 1 / 3])
    ess, ancestors = np.full((3, 4), 2.0), np.zeros((3, 4, 4), dtype=int)
    lineages.picture(ess, ess, ancestors, fired, "a run", tmp_path / "particles.png")
    (bars,) = [axes for axes in figures[0].axes if axes.patches]
    assert [bar.get_height() for bar in bars.patches] == fired.tolist()
    assert bars.get_ylabel().startswith("share of groups resampled") and bars.get_ylim() == (0, 1.05)
    assert bars.yaxis.get_visible() and {0.0, 1.0} <= set(bars.get_yticks())


@pytest.mark.parametrize(
    ("y", "ends"), [(torch.full((4, 4), 500.0), (495, 505)), (torch.arange(16.0).reshape(4, 4), (0, 15))]
)
def test_a_measurement_has_a_scale_of_its_own_and_one_number_is_gray(y, ends, figures, tmp_path):
    columns = {
        "measurement": y[None, None],
        "mean": torch.rand(1, 1, 4, 4),
        "standard deviation": torch.ones(1, 1, 4, 4),
    }
    posterior.picture(columns, tmp_path / "posterior.png", unit="m")
    panels = [axes for axes in figures[0].axes if axes.get_title(loc="left")]
    assert [bool(axes.images[0].colorbar) for axes in panels] == [True, False, True]
    assert panels[0].images[0].get_clim() == ends


def test_descent_by_hand():
    """Three particles; at the second evaluation all come from the last, which came from the first."""
    ancestors = np.array([[0, 0, 0], [2, 2, 2]])
    assert len(lines(ancestors)) == 6
    assert ([0, 1], [0, 2]) in lines(ancestors, living=True) and len(lines(ancestors, living=True)) == 4


def result(seed=0, groups=400, **options):
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    likelihood = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 0.5)
    return gk.sample(prior, gk.guidance.FKSteering(likelihood, 1.0, **options), groups, 20, seed), prior, likelihood


def test_the_error_of_log_z_covers_the_truth():
    found, prior, likelihood = result(particles=16)
    figures = particles.figures(found)
    exact = float(prior.log_evidence(likelihood))
    assert abs(figures["log Z"] - exact) < 3.5 * figures["log Z, error"] and figures["log Z, error"] < 0.1
    assert 1 <= figures["least ESS"] <= figures["last ESS"] <= 16


def test_ancestors_lead_to_the_roots_that_survive():
    """Following the ancestors back from the end gives as many different particles as are said to be left."""
    found, *_ = result(groups=5, particles=8, ess_threshold=None)
    ancestors, left = found.info["ancestors"], found.info["survivors"]
    assert ancestors.shape[::2] == (5, 8) and ancestors.shape[1] == left.shape[1] == found.info["ess"].shape[1]
    for group in range(5):
        line = torch.arange(8)
        for step in reversed(ancestors[group].long()):
            line = step[line]
        assert len(set(line.tolist())) == left[group, -1] == found.info["distinct roots"][group, 0]
    assert (left.diff(dim=1) <= 0).all() and (left[:, -1] < 8).any()


def test_what_cannot_be_trusted_is_told():
    found, *_ = result(groups=5, particles=8)
    assert particles.remark(found) == ""
    pair = torch.tensor([0.0, 30.0], dtype=torch.float64)
    info = {"survivors": torch.full((2, 3), 8), "ancestors": torch.zeros(2, 3, 8)}
    assert "rests on 1.0 of 2 groups" in particles.remark(gk.sampling.Result(None, pair[:, None], pair, None, info))
    alone, *_ = result(groups=5, particles=1)
    assert "one particle a group has nothing to be chosen from" in particles.remark(alone)
    heavy = torch.tensor([0.0] * 11 + [50.0], dtype=torch.float64)
    info = {"survivors": torch.ones(12, 3), "ancestors": torch.zeros(12, 3, 8)}
    told = particles.remark(gk.sampling.Result(None, heavy[:, None], heavy, None, info, None))
    assert "log Z rests on 1.0 of 12 groups" in told and "descend from one" in told
    dead = torch.full((12,), -math.inf, dtype=torch.float64)
    told = particles.remark(gk.sampling.Result(None, dead[:, None], dead, None, info, None))
    assert "in 12 of 12 groups no particle had a weight" in told


def test_a_run_shows_its_particles(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["domain=molecules", "reward=qed", "guidance=fk_steering", "guidance.temperature=1", "num_samples=4"]
    assert main(["sample", *words, "steps=8", "output=run"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("log Z", "log Z, error", "least ESS", "lineages left", "particles.png"))
    assert (tmp_path / "run" / "particles.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "run" / "run.json").read_text())["figures"]
    guided = next(value for name, value in figures.items() if name != "unguided")
    assert guided["lineages left"] <= 8 and "log Z" not in figures["unguided"]


def test_of_particle_gibbs_the_last_sweep_is_shown():
    """A sweep starts anew: nobody in it descends from those of the sweep before."""
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    likelihood = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 0.5)
    found = gk.sample(prior, gk.guidance.ParticleGibbs(likelihood, 1.0, sweeps=3), 2, 7)
    assert found.info["ess"].shape[1] == 21
    last = particles.last_sweep(found)
    assert {name: value.shape[1] for name, value in last.items()} == {
        "ess": 7,
        "survivors": 7,
        "ancestors": 7,
        "resampled": 6,
    }
    assert torch.equal(last["ess"], found.info["ess"][:, 14:])
    single = gk.sample(prior, gk.guidance.FKSteering(likelihood, 1.0), 2, 7)
    assert particles.last_sweep(single)["ess"].shape[1] == 7
