"""Reflected diffusion: the heat kernel of a box, exact scores, samples that never leave it, simplices."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.random import Draw, KeyedRandom
from guidekit.processes.reflected import TURN, ReflectedProcess, fold, from_simplex, reflected_score, to_simplex

WEIGHTS = torch.tensor([[8.0, 1.0, 1.0, 4.0], [1.0, 2.0, 3.0, 6.0]], dtype=torch.float64)


def images(x, x0, s, count=40):
    """Log-density of fold(x0 + s eps) by mirror images."""
    shift = 2.0 * torch.arange(-count, count + 1, dtype=torch.float64)
    centres = torch.cat([shift + x0[..., None], shift - x0[..., None]], -1)
    return torch.logsumexp(-0.5 * ((x[..., None] - centres) / s) ** 2, -1)


@pytest.mark.parametrize("s", [0.01, 0.05, 0.13, TURN - 1e-9, TURN + 1e-9, 0.2, 0.5, 2.0])
def test_score_is_the_gradient_of_the_log_of_mirror_images(s):
    x0 = torch.rand(40, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = fold(x0 + s * torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    x = x.requires_grad_()
    x0 = x0.expand(40, 5)
    (exact,) = torch.autograd.grad(images(x, x0, s).sum(), x)
    torch.testing.assert_close(reflected_score(x.detach(), x0, s), exact, rtol=1e-6, atol=1e-6)
    rows = torch.full((40,), s, dtype=torch.float64)
    torch.testing.assert_close(reflected_score(x.detach(), x0, rows), exact, rtol=1e-6, atol=1e-6)


def test_walls_have_no_slope_and_single_precision_works():
    x0 = torch.tensor([[0.2, 0.9]])
    for s in (0.02, 0.3):
        walls = torch.tensor([[0.0, 1.0]])
        assert reflected_score(walls, x0, s).abs().max() < 1e-4
        assert reflected_score(torch.rand(1, 2), x0, s).dtype == torch.float32


def test_fold():
    x = torch.tensor([-0.3, 0.4, 1.2, 2.7, -3.9, 5.0])
    torch.testing.assert_close(fold(x), torch.tensor([0.3, 0.4, 0.8, 0.7, 0.1, 1.0]))


def test_noise_follows_the_kernel():
    """Histogram of noisy states against the mirror images, in a box that is not the unit one."""
    process, n = ReflectedProcess(low=-1.0, high=3.0), 200_000
    t = process.at_level(0.4)
    eps = torch.randn(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = process.noise(torch.full((n, 1), 2.0, dtype=torch.float64), t, eps)
    seen = torch.histc((x + 1) / 4, 20, 0, 1) / n
    middle = (torch.arange(20, dtype=torch.float64) + 0.5) / 20
    law = torch.softmax(images(middle, torch.tensor(0.75, dtype=torch.float64), 0.4), 0)
    assert ((seen - law).abs() < 4 * (law / n).sqrt() + 2e-4).all()
    target = process.target(x[:5], torch.full((5, 1), 2.0, dtype=torch.float64), t)
    unit = reflected_score((x[:5] + 1) / 4, torch.full((5, 1), 0.75, dtype=torch.float64), 0.4)
    torch.testing.assert_close(target, unit / 4)


@pytest.mark.parametrize("t", [0.05, 0.5, 0.8])
def test_prior_score_is_the_gradient_of_its_density(t):
    process = ReflectedProcess(low=-1.0, high=3.0)
    prior = gk.priors.BoxHistogram(WEIGHTS, process)
    x = -1 + 4 * torch.rand(16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    (exact,) = torch.autograd.grad(prior.log_density(x, t).sum(), x)
    torch.testing.assert_close(prior.predict(x.detach(), t).score, exact, rtol=1e-7, atol=1e-7)
    grid = torch.cartesian_prod(*[torch.linspace(-1, 3, 201, dtype=torch.float64)] * 2)
    mass = prior.log_density(grid, t).exp().view(201, 201)
    total = torch.trapezoid(torch.trapezoid(mass, dx=0.02), dx=0.02)
    assert float(total) == pytest.approx(1, abs=1e-3)


def test_prior_score_is_the_mean_of_the_kernel_scores():
    """Denoising identity: the score of the marginal is E[target | x]; the uniform law has none."""
    process = ReflectedProcess()
    prior = gk.priors.BoxHistogram(WEIGHTS[:1], process)
    t = process.at_level(0.3)
    x0 = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    density = (prior.weights[0] * 4).repeat_interleave(1000)
    for x in (0.1, 0.5, 0.95):
        at = torch.full_like(x0, x)
        weight = density * images(at, x0, 0.3).exp()
        mean = (weight * reflected_score(at, x0, 0.3)).sum() / weight.sum()
        assert float(prior.predict(torch.tensor([[x]]).double(), t).score) == pytest.approx(float(mean), abs=1e-5)
    flat = gk.priors.BoxHistogram(torch.ones(1, 5))
    assert flat.predict(torch.rand(9, 1), 0.3).score.abs().max() < 1e-5


@pytest.mark.parametrize("sampler", [gk.samplers.Ancestral(), gk.samplers.DDIM(), gk.samplers.DDIM(0.5)])
def test_samples_have_the_law_of_the_prior(sampler):
    prior, n = gk.priors.BoxHistogram(WEIGHTS.float(), ReflectedProcess(low=-1.0, high=3.0)), 4000
    inside = []

    def watch(progress):
        x = progress.population.state
        inside.append(bool(((x >= -1) & (x <= 3)).all()))

    x = gk.sample(prior, num_samples=n, steps=100, sampler=sampler, progress=watch).samples
    assert all(inside)
    for column, law in zip(((x + 1) / 4).T, prior.weights, strict=True):
        seen = torch.histc(column, 4, 0, 1) / n
        assert ((seen - law).abs() < 4 * (law * (1 - law) / n).sqrt() + 0.012).all()


def test_cfg_with_a_large_weight_stays_in_the_box():
    """Scores are mixed, nothing is thresholded, and the mass is where the condition has more than the whole."""
    prior = gk.priors.ClassConditional(
        gk.priors.BoxHistogram(torch.ones(1, 4)), [gk.priors.BoxHistogram(torch.tensor([[1.0, 1.0, 2.0, 4.0]]))]
    )
    x = gk.sample(prior, gk.guidance.CFG(6.0), 500, 50, condition=0, sampler=gk.samplers.DDIM()).samples
    assert ((x >= 0) & (x <= 1)).all() and float((x > 0.5).float().mean()) > 0.95


def test_kernel_density_integrates_to_one_and_matches_its_draws():
    process, n = ReflectedProcess(low=-1.0, high=3.0), 20_000
    prior = gk.priors.BoxHistogram(WEIGHTS[:1], process)
    t, u = process.at_level(0.6), process.at_level(0.4)
    x = torch.full((n, 1), 2.8, dtype=torch.float64)
    kernel = process.reverse_kernel(prior.predict(x, t), t, u)
    grid = torch.linspace(-1, 3, 2001, dtype=torch.float64)
    one = process.reverse_kernel(prior.predict(x[:2001], t), t, u)
    density = one.log_prob(grid[:, None]).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-6)
    drawn = kernel.sample(Draw(KeyedRandom(0, 0, n), (0,), "move"))
    mean = float(torch.trapezoid(density * grid, grid))
    assert float(drawn.mean()) == pytest.approx(mean, abs=4 * float(drawn.std()) / math.sqrt(n))


def test_simplices():
    points = torch.distributions.Dirichlet(torch.ones(5, dtype=torch.float64)).sample((50,))
    points = torch.cat([points, torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 1.0, 0, 0]], dtype=torch.float64)])
    sticks = from_simplex(points)
    assert ((sticks >= 0) & (sticks <= 1)).all() and sticks.shape == (52, 4)
    torch.testing.assert_close(to_simplex(sticks), points, atol=1e-9, rtol=0)
    noisy = to_simplex(ReflectedProcess().noise(sticks, 0.7, torch.randn(sticks.shape, dtype=torch.float64)))
    torch.testing.assert_close(noisy.sum(-1), torch.ones(52, dtype=torch.float64))
    assert (noisy >= 0).all()


def test_refusals():
    for make, words in [
        (lambda: ReflectedProcess(low=1.0, high=1.0), "low < high"),
        (lambda: ReflectedProcess(gk.processes.VE(0.01, 0.5).schedule), "at least 1 width"),
        (lambda: ReflectedProcess(gk.processes.VP().schedule), "GeometricVE or KarrasVE"),
        (lambda: gk.priors.BoxHistogram(torch.tensor([[1.0, 0.0]])), "positive"),
        (lambda: from_simplex(torch.tensor([0.5, 0.6])), "sum to 1"),
        (
            lambda: gk.sample(gk.priors.BoxHistogram(torch.ones(1, 3)), sampler=gk.samplers.Heun()),
            "samplers for it: Ancestral, DDIM",
        ),
    ]:
        with pytest.raises(ValueError) as refusal:
            make()
        assert words in str(refusal.value), refusal.value
