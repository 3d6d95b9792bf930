"""Gaussian and mixture priors: closed forms of sampling, CFG, DPS and particle methods."""

import itertools
import math

import pytest
import torch

import guidekit as gk
from guidekit.core.kernel import GaussianKernel
from guidekit.core.requirements import Layer
from guidekit.priors.gaussian import posterior_covariance

PROCESSES = {
    "vp": gk.processes.VP(),
    "cosine": gk.processes.VP("cosine"),
    "ve": gk.processes.VE(0.01, 30.0),
    "edm": gk.processes.EDM(0.005, 40.0),
    "flow": gk.processes.Flow(),
}
N = 8000


def close_moments(x, prior, bias=0.0):
    """Mean within 4 standard errors (+ a stated bias) and covariance likewise."""
    mean, cov, n = prior.mean(), prior.covariance(), len(x)
    std = cov.diagonal().sqrt()
    assert ((x.mean(0) - mean).abs() < 4 * std / math.sqrt(n) + bias).all()
    scale = torch.outer(std, std)
    assert ((x.T.cov() - cov).abs() < 4 * scale * math.sqrt(2 / n) + bias).all()


def mixture(process, **options):
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0]])
    return gk.priors.GaussianMixture(means, 0.5, torch.tensor([0.7, 0.3]), process=process, **options)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(
    ("sampler", "bias"),
    [
        (gk.samplers.Ancestral(), 0.05),
        (gk.samplers.DDIM(), 0.05),
        (gk.samplers.Euler(), 0.05),
        (gk.samplers.Heun(), 0.02),
    ],
)
def test_samplers_reach_the_mixture(name, sampler, bias):
    prior = mixture(PROCESSES[name])
    result = gk.sample(prior, num_samples=N, steps=200, sampler=sampler)
    close_moments(result.samples, prior, bias)
    share = float((result.samples[:, 0] > 0).double().mean())
    assert share == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / N) + 0.01)
    calls = 200 if not isinstance(sampler, gk.samplers.Heun) else 399
    assert result.ledger.network_rows == calls * N


@pytest.mark.parametrize("process", ["cosine", "edm", "flow"])
@pytest.mark.parametrize(("sampler", "order"), [(gk.samplers.Euler(), 1), (gk.samplers.Heun(), 2)])
def test_order_of_convergence(process, sampler, order):
    prior = gk.priors.GaussianMixture(
        torch.tensor([[1.0], [-1.0]], dtype=torch.float64), 0.7, torch.tensor([0.6, 0.4]), process=PROCESSES[process]
    )

    class Given(gk.Guidance):
        layer = Layer.START

        def start(self, population):
            x = torch.linspace(-1.5, 1.5, len(population), dtype=torch.float64)[:, None]
            return population.at(x * population.process.coefficients(1.0)[1])

    def end(steps):
        return gk.sample(prior, Given(), num_samples=16, steps=steps, sampler=sampler).samples

    finest = end(4096)
    errors = [float((end(n) - finest).abs().max()) for n in (32, 64, 128)]
    measured = math.log2(errors[0] / errors[2]) / 2
    assert measured == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("name", PROCESSES)
def test_denoiser_is_the_gradient_of_the_log_marginal(name):
    process = PROCESSES[name]
    covariances = torch.tensor([[[0.5, 0.2], [0.2, 0.3]], [[1.0, -0.4], [-0.4, 0.6]]], dtype=torch.float64)
    means = torch.tensor([[1.0, 0.0], [-1.0, 2.0]], dtype=torch.float64)
    prior = gk.priors.GaussianMixture(means, weights=torch.tensor([0.4, 0.6]), covariances=covariances, process=process)
    for t in (0.3, 0.8):
        x = torch.randn(16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
        (score,) = torch.autograd.grad(prior.marginal(t).log_prob(x).sum(), x)
        torch.testing.assert_close(prior.predict(x.detach(), t).score, score, rtol=1e-9, atol=1e-9)


def test_round_and_full_components_agree():
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0]], dtype=torch.float64)
    full = torch.diag_embed(torch.full((2, 2), 0.25, dtype=torch.float64))
    full[0, 0, 0] += 1e-9  # breaks the fast path for spherical components
    fast = gk.priors.GaussianMixture(means, 0.5)
    slow = gk.priors.GaussianMixture(means, covariances=full)
    x = torch.randn(32, 2, dtype=torch.float64)
    torch.testing.assert_close(fast.predict(x, 0.4).mean, slow.predict(x, 0.4).mean, rtol=1e-6, atol=1e-7)


def test_posterior_against_direct_integration():
    prior = gk.priors.GaussianMixture(torch.tensor([[1.0], [-1.0]], dtype=torch.float64), 0.6, torch.tensor([0.3, 0.7]))
    likelihood = gk.objectives.LinearGaussian(torch.tensor([[2.0]]), torch.tensor([0.7]), 0.5)
    grid = torch.linspace(-8, 8, 40001, dtype=torch.float64)[:, None]
    density = prior.marginal(0.0).log_prob(grid).exp() * likelihood(grid).exp()
    evidence = torch.trapezoid(density, grid[:, 0])
    assert float(prior.log_evidence(likelihood)) == pytest.approx(math.log(evidence), abs=1e-6)
    posterior = prior.posterior(likelihood).marginal(0.0).log_prob(grid).exp()
    torch.testing.assert_close(posterior, density / evidence, atol=1e-5, rtol=1e-4)


def test_quadratic_tilt_and_its_normalizer():
    prior = gk.priors.Gaussian(torch.tensor([1.0, -1.0], dtype=torch.float64), torch.tensor([0.5, 2.0]))
    reward = gk.objectives.QuadraticReward(torch.tensor([0.0, 2.0]), scale=0.8)
    x = prior.sample(400_000, torch.Generator().manual_seed(0))
    w = (reward(x) / 0.7).exp()
    z = float(prior.log_normalizer(reward, 0.7).exp())
    assert float(w.mean()) == pytest.approx(z, abs=4 * float(w.std()) / math.sqrt(len(w)))
    tilted = prior.tilted(reward, 0.7)
    assert (((w[:, None] * x).mean(0) / w.mean() - tilted.mean()).abs() < 0.02).all()


def test_posterior_covariance_is_that_of_the_denoiser():
    prior = gk.priors.Gaussian(torch.zeros(2, dtype=torch.float64), torch.tensor([[1.0, 0.6], [0.6, 2.0]]))
    t = 0.35
    a, s = prior.process.coefficients(t)
    x = torch.zeros(2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: prior.predict(v[None], t).mean[0], x)
    torch.testing.assert_close(jacobian * s * s / a, posterior_covariance(prior, t))


# Classifier-free guidance ------------------------------------------------------------------------------------------


def pair(process, var_c, var_0, m_c=0.0, m_0=0.0):
    null = gk.priors.Gaussian(torch.tensor([m_0], dtype=torch.float64), var_0, process)
    return gk.priors.ClassConditional(
        null, [gk.priors.Gaussian(torch.tensor([m_c], dtype=torch.float64), var_c, process)]
    )


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0, -0.5])
def test_cfg_equal_covariances_shifts_the_mean(weight):
    prior = pair(PROCESSES["cosine"], 1.0, 1.0, 0.5, -0.3)
    result = gk.sample(prior, gk.guidance.CFG(weight), N, 100, condition=0, sampler=gk.samplers.Heun())
    expected = weight * 0.5 + (1 - weight) * -0.3
    assert float(result.samples.mean()) == pytest.approx(expected, abs=4 / math.sqrt(N) + 0.005)
    assert float(result.samples.var()) == pytest.approx(1.0, abs=4 * math.sqrt(2 / N) + 0.01)


def test_cfg_under_the_ode_is_not_the_tilted_law():
    """Centred, std .5 and 1.3, w = 3: the ODE ends at .5^3 / 1.3^2 = .07396, the tilted law has .30406."""
    prior = pair(gk.processes.EDM(0.002, 500.0), 0.25, 1.69)
    result = gk.sample(prior, gk.guidance.CFG(3.0), N, 300, condition=0, sampler=gk.samplers.Heun())
    expected = 0.5**3 / 1.3**2
    assert float(result.samples.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * N) + 0.02)


def test_cfg_under_the_sde_differs_from_the_ode():
    """VP, variances 1 and 2, w = 3: ODE 2^(1-w) = .25, reverse SDE (2 - 2^(2-2w)) / (2w - 1) = .3875."""
    prior = pair(PROCESSES["vp"], 1.0, 2.0)
    options = dict(num_samples=N, condition=0)
    ode = gk.sample(prior, gk.guidance.CFG(3.0), steps=400, sampler=gk.samplers.Heun(), **options).samples
    sde = gk.sample(prior, gk.guidance.CFG(3.0), steps=1500, sampler=gk.samplers.Ancestral(), **options).samples
    assert float(ode.var()) == pytest.approx(0.25, rel=4 * math.sqrt(2 / N) + 0.02)
    assert float(sde.var()) == pytest.approx(0.3875, rel=4 * math.sqrt(2 / N) + 0.02)


def test_cfg_weight_one_is_the_conditional_model_bit_for_bit():
    prior = mixture(PROCESSES["vp"])
    guided = gk.sample(prior, gk.guidance.CFG(1.0), 64, 20, condition=1)
    plain = gk.sample(prior, None, 64, 20, condition=1)
    assert torch.equal(guided.samples, plain.samples)
    assert guided.ledger.network_rows == 64 * 20
    assert gk.sample(prior, gk.guidance.CFG(2.0), 64, 20, condition=1).ledger.network_calls == 20  # joined branches


def test_cfg_weight_zero_is_the_unconditional_model_bit_for_bit():
    prior = mixture(PROCESSES["vp"])
    guided = gk.sample(prior, gk.guidance.CFG(0.0), 64, 20, condition=1)
    assert torch.equal(guided.samples, gk.sample(prior, None, 64, 20).samples)


def test_negative_condition_replaces_the_null():
    process = PROCESSES["cosine"]
    laws = [gk.priors.Gaussian(torch.tensor([m], dtype=torch.float64), 1.0, process) for m in (0.0, 1.0, -0.5)]
    prior = gk.priors.ClassConditional(laws[0], laws[1:])
    guided = gk.sample(prior, gk.guidance.CFG(2.0, negative=1), N, 60, condition=0, sampler=gk.samplers.Heun())
    assert float(guided.samples.mean()) == pytest.approx(2 * 1.0 - 1 * -0.5, abs=4 / math.sqrt(N) + 0.01)


def test_scheduled_weight_acts_only_where_it_is_not_one():
    prior = pair(PROCESSES["cosine"], 1.0, 1.0, 0.5, -0.3)
    guided = gk.sample(prior, gk.guidance.CFG(lambda t: 1.0), 64, 20, condition=0).samples
    assert torch.equal(guided, gk.sample(prior, None, 64, 20, condition=0).samples)


# Diffusion posterior sampling --------------------------------------------------------------------------------------


def measured():
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 1.0, PROCESSES["vp"])
    return prior, gk.objectives.LinearGaussian(torch.ones(1, 1), torch.ones(1), 0.5)


def test_dps_collapses_onto_the_measurement_as_documented():
    """The truth is N(.8, .447^2); DPS in its published norm form ends at mean 1 with a far smaller spread."""
    prior, likelihood = measured()
    posterior = prior.posterior(likelihood)
    assert float(posterior.mean()) == pytest.approx(0.8, abs=1e-6)
    assert float(posterior.covariance().sqrt()) == pytest.approx(0.4472, abs=1e-4)
    x = gk.sample(prior, gk.guidance.DPS(likelihood, 0.3, "norm"), 4000, 200, sampler=gk.samplers.Ancestral()).samples
    assert float(x.mean()) == pytest.approx(1.0, abs=0.03)
    assert float(x.std()) < 0.25
    narrow = gk.sample(
        prior, gk.guidance.DPS(likelihood, 0.05, "norm"), 4000, 200, sampler=gk.samplers.Ancestral()
    ).samples
    assert float(narrow.mean()) == pytest.approx(1.0, abs=0.03)
    assert float(narrow.std()) < float(x.std())


def test_dps_first_step_is_the_formula():
    prior = gk.priors.Gaussian(torch.tensor([0.3, -0.2], dtype=torch.float64), torch.tensor([[1.0, 0.5], [0.5, 2.0]]))
    a = torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.0, 1.0]], dtype=torch.float64)
    likelihood = gk.objectives.LinearGaussian(a, torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64), 0.1)
    seen = {}

    class Spy(gk.Guidance):
        layer = Layer.FILTER

        def propose(self, inner, population, step):
            proposal = inner(population, step)
            seen.setdefault("first", (population.state, step.t, step.u, proposal.kernel))
            return proposal

    gk.sample(prior, gk.chain(gk.guidance.DPS(likelihood, 0.7, "norm"), Spy()), 5, 10)
    x, t, u, kernel = seen["first"]
    process = prior.process
    signal, noise = process.coefficients(t)
    c = prior.covariances[0]
    jacobian = signal * c @ torch.linalg.inv(signal**2 * c + noise**2 * torch.eye(2, dtype=torch.float64))
    x = x.double()
    mean = prior.means[0] + (x - signal * prior.means[0]) @ jacobian.T
    residual = likelihood.y - mean @ a.T
    gradient = residual @ a @ jacobian / residual.norm(dim=1, keepdim=True)  # of -||y - A D||
    plain = process.reverse_kernel(process.prediction(mean, x, t), t, u)
    torch.testing.assert_close(kernel.mean, (plain.mean + 0.7 * gradient).to(kernel.mean), rtol=1e-5, atol=1e-6)


def test_dps_scale_zero_is_unguided_and_rows_are_independent():
    prior, likelihood = measured()
    plain = gk.sample(prior, None, 6, 20).samples
    assert torch.equal(gk.sample(prior, gk.guidance.DPS(likelihood, 0.0, "norm"), 6, 20).samples, plain)
    together = gk.sample(prior, gk.guidance.DPS(likelihood, 0.3, "norm"), 6, 20)
    alone = gk.sample(prior, gk.guidance.DPS(likelihood, 0.3, "norm"), 6, 20, batch_size=1)
    torch.testing.assert_close(together.samples, alone.samples)
    assert together.ledger.backward_passes == 20


def test_gradients_of_two_plugs_add_up():
    prior, likelihood = measured()
    half = gk.guidance.DPS(likelihood, 0.15, "norm")
    both = gk.sample(prior, gk.chain(half, gk.guidance.DPS(likelihood, 0.15, "norm")), 8, 20)
    torch.testing.assert_close(both.samples, gk.sample(prior, gk.guidance.DPS(likelihood, 0.3, "norm"), 8, 20).samples)


# Particle methods --------------------------------------------------------------------------------------------------


def test_fk_steering_reaches_the_tilted_gaussian():
    prior = gk.priors.Gaussian(
        torch.zeros(2, dtype=torch.float64), torch.tensor([[1.0, 0.4], [0.4, 1.5]]), PROCESSES["cosine"]
    )
    reward = gk.objectives.QuadraticReward(torch.tensor([1.0, -1.0]), 0.8)
    guidance = gk.guidance.FKSteering(reward, temperature=1.0, output="all")
    result = gk.sample(prior, guidance, 40, 100, particles=500)
    exact, z = prior.tilted(reward), float(prior.log_normalizer(reward).exp())
    estimate = result.log_normalizer.exp()
    assert float(estimate.mean()) == pytest.approx(z, abs=4 * float(estimate.std()) / math.sqrt(40) + 0.02 * z)
    weights = torch.softmax(result.log_weights, 1) * estimate[:, None]
    x = result.samples.view(40, 500, 2).double()
    means = torch.einsum("gk,gkd->gd", weights, x) / z
    error = means.std(0) / math.sqrt(40)
    assert ((means.mean(0) - exact.mean()).abs() < 4 * error + 0.02).all()


def test_svdd_moves_towards_the_reward_with_more_candidates():
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 1.0, PROCESSES["cosine"])
    reward = gk.objectives.QuadraticReward(torch.tensor([2.0]), 0.5)
    means = [
        float(gk.sample(prior, gk.guidance.SVDD(reward, m, alpha=1.0), 1000, 50).samples.mean()) for m in (1, 2, 4, 16)
    ]
    assert all(b > a + 0.05 for a, b in itertools.pairwise(means))
    assert abs(means[0]) < 4 / math.sqrt(1000)


def test_gaussian_kernel_log_prob_matches_torch():
    prediction = PROCESSES["vp"].prediction(torch.randn(4, 3), torch.randn(4, 3), 0.5)
    kernel = GaussianKernel(torch.randn(4, 3), 0.7, prediction.support)
    x = torch.randn(4, 3)
    expected = torch.distributions.Normal(kernel.mean, 0.7).log_prob(x).sum(1).double()
    torch.testing.assert_close(kernel.log_prob(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PROCESSES)
def test_forward_noise_and_reverse_kernel_agree(name):
    """q(x_u | x_t, x_0) averaged over q(x_t | x_0) is q(x_u | x_0)."""
    process, t, u = PROCESSES[name], 0.7, 0.4
    (a, s), (b, r) = process.coefficients(t), process.coefficients(u)
    x0 = torch.tensor([[1.5]], dtype=torch.float64)
    x = torch.tensor([[-0.4]], dtype=torch.float64)
    kernel = process.reverse_kernel(process.prediction(x0, x, t), t, u)
    shifted = process.reverse_kernel(process.prediction(x0, x + 1, t), t, u)
    slope = float(shifted.mean - kernel.mean)  # d mean / d x_t
    offset = float(kernel.mean) - slope * float(x)
    assert slope * a * 1.5 + offset == pytest.approx(b * 1.5, rel=1e-9)
    assert kernel.std**2 + (slope * s) ** 2 == pytest.approx(r * r, rel=1e-9)
