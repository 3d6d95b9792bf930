"""Gaussian fields against the dense Gaussian of the same covariance, which is checked on its own."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.requirements import GuidanceError
from guidekit.objectives import GaussianLikelihood
from guidekit.objectives.operators.base import Linear
from guidekit.objectives.operators.masks import Keep
from guidekit.priors.bases import Rotation
from guidekit.priors.gaussian import posterior_covariance

SHAPE = (2, 5, 6)
SIZE = math.prod(SHAPE)
PROCESSES = {"vp": gk.processes.VP(), "edm": gk.processes.EDM(), "flow": gk.processes.Flow()}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def field(basis, process=None, dtype=torch.float64):
    """With variances over a factor of a hundred."""
    variances = torch.exp(1.5 * random(*SHAPE))
    if basis == "fourier":
        variances = (variances + variances.flip((1, 2)).roll((1, 1), (1, 2))) / 2
    found = Rotation(torch.linalg.qr(random(SIZE, SIZE, seed=2)).Q) if basis == "dense" else basis
    return gk.priors.GaussianField(random(*SHAPE, seed=1).to(dtype), variances.to(dtype), found, process)


class Sketch(Linear):
    """Some random sums."""

    shape = SHAPE

    def __init__(self):
        self.a = random(7, SIZE, seed=5)

    def forward(self, x):
        return (x.flatten(1) @ self.a.to(x).T).view(len(x), 7, 1)


BASES = ("fourier", "cosine", "dense")


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("basis", BASES)
def test_denoiser_and_conditional_covariance(basis, process):
    """Of the dense Gaussian at 1e-8, at times a row and at one time."""
    prior = field(basis, PROCESSES[process])
    dense, x = prior.dense(), 3 * random(4, *SHAPE, seed=3)
    t = torch.tensor([0.02, 0.3, 0.6, 0.95], dtype=torch.float64)
    found, wanted = prior.predict(x, t).mean, dense.predict(x.flatten(1), t).mean
    torch.testing.assert_close(found.flatten(1), wanted, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(prior.predict(x, 0.3).mean[1], found[1], rtol=1e-10, atol=1e-10)
    covariances = torch.stack([posterior_covariance(dense, float(one)) for one in t])
    spread = torch.einsum("bij,bj->bi", covariances, x.flatten(1))
    torch.testing.assert_close(prior.conditional_covariance(x, t).flatten(1), spread, rtol=1e-8, atol=1e-8)
    a, s = prior.process.coefficients(t)
    torch.testing.assert_close(prior.conditional_covariance(x, a=a, s=s), prior.conditional_covariance(x, t))
    torch.testing.assert_close(prior.precision(prior.covariance(x)), x)


@pytest.mark.parametrize("basis", BASES)
def test_density_and_draws(basis):
    """log p of the dense Gaussian; moments of draws within 5 standard errors."""
    prior = field(basis)
    dense = prior.dense()
    law = torch.distributions.MultivariateNormal(dense.means[0], dense.covariances[0])
    x = prior.sample(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.log_prob(x[:5]), law.log_prob(x[:5].flatten(1)), rtol=1e-8, atol=1e-8)
    flat, std = x.flatten(1), dense.covariances[0].diagonal().sqrt()
    assert ((flat.mean(0) - dense.means[0]).abs() < 5 * std / math.sqrt(len(x))).all()
    scale = torch.outer(std, std) * math.sqrt(2 / len(x))
    assert ((flat.T.cov() - dense.covariances[0]).abs() < 5 * scale).all()


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("measured", ["matrix", "sketch", "mask"])
def test_posterior(basis, measured):
    """Mean, law of draws, conditional denoiser and evidence of the dense posterior at 1e-8."""
    prior, noise = field(basis, gk.processes.VP()), 0.3
    if measured == "mask":
        keep = random(*SHAPE, seed=6) > 0
        rows = torch.eye(SIZE, dtype=torch.float64)[keep.flatten()]
        truth = random(1, *SHAPE, seed=7)
        likelihood = GaussianLikelihood(Keep(keep), truth * keep, noise)
        y = truth.flatten(1)[:, keep.flatten()][0]
    else:
        rows, y = Sketch().a, random(7, seed=7)
        likelihood = gk.objectives.LinearGaussian(rows, y, noise)
        if measured == "sketch":
            likelihood = GaussianLikelihood(Sketch(), y.view(1, 7, 1), noise)
    linear = gk.objectives.LinearGaussian(rows, y, noise)
    wanted, found = prior.dense().posterior(linear), prior.posterior(likelihood)
    close = dict(rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.mean().flatten(1), wanted.means, **close)
    torch.testing.assert_close(found.variances().flatten(), wanted.covariances[0].diagonal(), **close)
    torch.testing.assert_close(found.log_evidence()[0], prior.dense().log_evidence(linear), **close)
    x, t = random(3, *SHAPE, seed=8), torch.tensor([0.05, 0.4, 0.9], dtype=torch.float64)
    torch.testing.assert_close(found.predict(x, t).mean.flatten(1), wanted.predict(x.flatten(1), t).mean, **close)
    drawn = found.sample(4000, torch.Generator().manual_seed(0)).flatten(1)
    std = wanted.covariances[0].diagonal().sqrt()
    assert ((drawn.mean(0) - wanted.means[0]).abs() < 5 * std / math.sqrt(4000)).all()
    scale = torch.outer(std, std) * math.sqrt(2 / 4000)
    assert ((drawn.T.cov() - wanted.covariances[0]).abs() < 5 * scale).all()


def test_rows_of_measurements_and_noise():
    """Each sample has its own y and noise, whoever stands beside it, also one that has nothing to correct."""
    prior, a = field("cosine"), Sketch().a
    ys, stds = random(3, 7, seed=9), torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    ys[1] = a @ prior.mean.flatten()  # nothing to correct
    together = prior.posterior(gk.objectives.LinearGaussian(a, ys, stds))
    for i in range(3):
        alone = prior.posterior(gk.objectives.LinearGaussian(a, ys[i], stds[i]))
        torch.testing.assert_close(together.mean()[i], alone.mean()[0], rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(together.log_evidence()[i], alone.log_evidence()[0])


def test_samplers_end_at_the_posterior():
    """Heun's method on the conditional denoiser: mean and spread within 4 standard errors."""
    prior = field("fourier", gk.processes.VP("cosine"))
    posterior = prior.posterior(gk.objectives.LinearGaussian(Sketch().a, random(7, seed=7), 0.3))
    x = gk.sample(posterior, None, 400, steps=30, sampler="heun").samples.double()
    std = posterior.variances().sqrt()
    assert ((x.mean(0) - posterior.mean()[0]).abs() < 4.5 * std / 20 + 0.02 * std).all()
    assert abs(float((x.std(0) / std).mean()) - 1) < 0.02


@pytest.mark.parametrize("basis", BASES)
def test_fit_recovers_the_law(basis):
    """Spectrum of 4,000 draws within 5 standard errors, the mean likewise."""
    prior = field(basis)
    fitted = gk.priors.GaussianField.fit(prior.sample(4000, torch.Generator().manual_seed(1)), basis)
    true, found = prior.dense().covariances[0], fitted.dense().covariances[0]
    std = true.diagonal().sqrt()
    assert ((found - true).abs() < 5 * torch.outer(std, std) * math.sqrt(2 / 4000)).all()
    assert ((fitted.mean - prior.mean).flatten().abs() < 5 * std / math.sqrt(4000)).all()
    assert fitted.sample(1).dtype == torch.float64


def test_fit_by_hand():
    """Two states: variances with n - 1; one mean a channel with n; shrinkage of 1 leaves the mean variance."""
    x = random(2, 1, 3, 4)
    fitted = gk.priors.GaussianField.fit(x, "cosine")
    gap = (x[0] - x[1]) / math.sqrt(2)
    torch.testing.assert_close(fitted.variances.sum(), gap.square().sum())
    level = gk.priors.GaussianField.fit(x, "fourier", uniform_mean=True)
    assert level.mean.unique().numel() == 1
    torch.testing.assert_close(level.variances.sum(), (x - x.mean()).square().sum() / 2)
    round_one = gk.priors.GaussianField.fit(x, "dense", shrinkage=1.0).dense().covariances[0]
    torch.testing.assert_close(round_one, (gap.square().sum() / 2 / 12) * torch.eye(12, dtype=torch.float64))


def test_estimated_shrinkage_is_nearly_the_best():
    """Of shrinkages 0, .1, ... the estimated one loses at most 3 % of squared error (five sets of 40 draws)."""
    prior = field("cosine")
    true = prior.dense().covariances[0]

    def error(shrinkage):
        total = 0.0
        for seed in range(5):
            x = prior.sample(40, torch.Generator().manual_seed(seed))
            found = gk.priors.GaussianField.fit(x, "dense", shrinkage=shrinkage).dense().covariances[0]
            total += float((found - true).square().sum())
        return total

    assert error(None) < 1.03 * min(error(i / 10) for i in range(10))


def test_refusals():
    good = field("fourier")
    with pytest.raises(ValueError, match="equal at k and -k"):
        gk.priors.GaussianField(good.mean, torch.exp(random(*SHAPE)))
    with pytest.raises(ValueError, match="above 0"):
        gk.priors.GaussianField(good.mean, -good.variances)
    with pytest.raises(ValueError, match="no basis named 'cosines'"):
        gk.priors.GaussianField(good.mean, good.variances, "cosines")
    with pytest.raises(ValueError, match="two or more"):
        gk.priors.GaussianField.fit(random(1, *SHAPE))
    with pytest.raises(GuidanceError, match="needs a linear measurement"):
        good.posterior(GaussianLikelihood(lambda x: x, torch.zeros(1, *SHAPE), 0.1))
    with pytest.raises(ArithmeticError, match="noise is too small"):
        gk.priors.conditioned_field.ConditionedField(
            good, gk.objectives.LinearGaussian(Sketch().a, torch.ones(7), 0.1), most=2
        ).mean()
