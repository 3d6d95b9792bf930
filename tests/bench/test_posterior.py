"""`guidekit bench posterior`: exact references are exact, good solvers pass, bad ones do not."""

import json
import math

import pytest
import torch

import guidekit as gk
from guidekit.bench import exact, posterior, solvers
from guidekit.cli import main
from guidekit.core.requirements import Layer
from guidekit.objectives.operators.dense import Dense


def test_posteriors_of_a_mixture_are_exact():
    # D = 2, m = 1: the law of x given y by quadrature over a grid, against draws
    law = exact.Mixture(
        torch.tensor([0.3, 0.7], dtype=torch.float64).log(),
        torch.tensor([[1.0, 0.5], [-1.0, 0.0]], dtype=torch.float64),
        torch.tensor([[[0.5, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.6]]], dtype=torch.float64),
    )
    a, y, std, count = torch.tensor([[1.0, -0.5]], dtype=torch.float64), torch.tensor([[0.4]]).double(), 0.3, 40_000
    draws = law.posterior(a, y, std, count, torch.Generator().manual_seed(0))[0]
    axis = torch.linspace(-5, 5, 401, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    components = [
        weight + torch.distributions.MultivariateNormal(mean, covariance).log_prob(points)
        for weight, mean, covariance in zip(law.log_w, law.means, law.covariances, strict=True)
    ]
    log_p = torch.logsumexp(torch.stack(components), 0) - 0.5 * ((y[0] - points @ a.T)[:, 0] / std).square()
    p = torch.softmax(log_p, 0)
    mean = p @ points
    covariance = (points - mean).T @ ((points - mean) * p[:, None])
    assert (draws.mean(0) - mean).abs().max() < 4 * math.sqrt(float(covariance.diagonal().max()) / count)
    assert (draws.T.cov() - covariance).abs().max() < 5 * float(covariance.diagonal().max()) * math.sqrt(2 / count)


def test_the_denoiser_of_jumps_is_that_of_their_mixture():
    prior = exact.Jumps(3)
    law = prior.mixture()
    same = gk.priors.GaussianMixture(
        law.means, weights=law.log_w.exp(), covariances=law.covariances, process=prior.process
    )
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (0.1, 0.5, 0.8):
        assert torch.allclose(prior.predict(x, t).mean, same.predict(x, t).mean, atol=1e-10)


@pytest.mark.parametrize("name", exact.PRIORS)
def test_the_bench_calls_the_exact_posterior_calibrated(name):
    found = posterior.measured(None, name, 20, 24)["card"]
    assert found["verdict"] == "calibrated" and found["problems"] >= 72 and abs(found["told"] - 0.5) < 0.1


class Conditioned(gk.Guidance):
    """The exact denoiser given y of a Gaussian prior, with its mean off and its spread wrong as asked."""

    layer = Layer.ESTIMATE

    def __init__(self, likelihood, spread=1.0, shift=0.0):
        self.likelihood, self.spread, self.shift = likelihood, spread, shift

    def finish(self, population):
        operator, y = self.likelihood.operator, self.likelihood.y
        prior = gk.priors.Gaussian(torch.zeros(4, dtype=torch.float64), 1.0)
        law = prior.posterior(gk.objectives.LinearGaussian(operator.matrix, y[0], self.likelihood.noise))
        a, variance = operator.matrix, self.likelihood.noise**2
        gain = a.T @ torch.linalg.inv(a @ a.T + variance * torch.eye(2))
        noise = law.sample(len(y), torch.Generator().manual_seed(5)) - law.means
        return population.at((y @ gain.T + self.spread * noise + self.shift)[:, None])


@pytest.mark.parametrize(
    ("options", "verdict"), [({}, "calibrated"), ({"spread": 0.6}, "narrow"), ({"shift": 0.6}, "biased")]
)
def test_a_prior_of_ones_own_needs_no_exact_posterior(options, verdict):
    prior = exact.Shaped(gk.priors.Gaussian(torch.zeros(4, dtype=torch.float64), 1.0, gk.processes.EDM()), (1, 4))
    a = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]], dtype=torch.float64)
    operator = Dense(a, (1, 4))
    truths = torch.randn(200, 1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = posterior.check(
        prior, operator, lambda one: Conditioned(one, **options), 0.3, 2, problems=200, truths=truths
    )
    assert found.verdict == verdict


def test_every_inverse_and_gradient_guidance_is_covered_by_existing():
    names = {one.guidance for one in solvers.solvers()}
    assert {"dps", "replacement", "tfg"} <= names and not names & {"cfg", "svdd", "classifier"}


def test_cards_are_written_and_completed(tmp_path, capsys, monkeypatch):
    output = tmp_path / "cards.json"
    settings = ["bench", "posterior", "priors=[mixture]", "problems=10", f"output={output}"]
    assert main([*settings, "guidances=[mpgd]", "steps=5"]) == 0
    assert "mpgd" in capsys.readouterr().out
    record = json.loads(output.read_text())
    cell = record["cards"]["mpgd"]["mixture"]["5"]
    assert cell["rows"] == 5 and set(cell["noise"]) == {"0.05", "0.15", "0.3"}
    asked = []
    monkeypatch.setattr(posterior, "measured", lambda *given: asked.append(given[:3]) or cell)
    assert main([*settings, "guidances=[mpgd]", "steps=[5,6]"]) == 0
    assert [(one[0] and one[0].title, one[2]) for one in asked] == [(None, 6), ("mpgd", 6)]
    assert main([*settings[:3], "problems=11", f"output={output}", "guidances=[mpgd]"]) == 2


@pytest.mark.slow
def test_a_prior_of_a_domain_and_a_task(capsys, monkeypatch):
    monkeypatch.setattr(posterior, "TRUTH_STEPS", 3)
    settings = ["domain=images", "task=inpaint", "guidances=[replacement]", "steps=2", "problems=10"]
    assert main(["bench", "posterior", *settings]) == 0
    assert "inpaint" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("guidances=[dpz]", "did you mean 'dps'"),
        ("priors=[mixtur]", "did you mean 'mixture'"),
        ("steps=1", "from 2 on"),
        ("problems=3", "at least 10"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting, said, capsys):
    assert main(["bench", "posterior", setting]) == 2
    assert said in capsys.readouterr().err


def test_the_label_is_that_of_the_worst_prior():
    def cells(verdict, coverage):
        return {"20": {"card": {"verdict": verdict, "coverage": coverage}}}

    good, bad = cells("calibrated", 0.9), cells("narrow", 0.5)
    assert posterior.label({"a": good}) == "calibrated" and posterior.label({"a": good, "b": bad}) == "narrow"
    assert posterior.label({"a": {"20": {"refused": "no"}}}) == "-"
    cards = {posterior.REFERENCE: {"a": good}, "one": {"a": bad}, "one field": {"a": good}, "two": {"a": bad}}
    assert posterior.labels(cards) == {"one": "narrow", "two": "narrow"}
    assert posterior.label({"a": good, "b": {"20": {"diverged": "all"}}}) == "biased"
