"""Solvers of inverse problems with a loop of their own: DAPS, PnP-DM, DiffPIR, RED-diff, against closed forms."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate
from guidekit.core.random import Draw, KeyedRandom
from guidekit.core.step import Moment, Step
from guidekit.guidance.inverse.daps import GUESSED, DecoupledAnnealing, answered
from guidekit.guidance.inverse.langevin import climbed, wandered
from guidekit.guidance.inverse.pnp_dm import SplitGibbs
from guidekit.guidance.inverse.proximal import Fit, Near, OfField, Round
from guidekit.guidance.inverse.red_diff import Optimum
from guidekit.guidance.inverse.walks import walked
from guidekit.objectives.operators.base import Linear
from guidekit.objectives.operators.dense import Dense
from guidekit.objectives.operators.masks import Keep
from guidekit.processes.grids import Levels
from guidekit.sampling import prepare

N = 8000
Y, NOISE = 1.0, 0.5
EDM = gk.processes.EDM()


def draw(groups, name="test"):
    return Draw(KeyedRandom(0, 0, groups), (0,), name)


def gaussian(process=EDM, variance=1.0):
    return gk.priors.Gaussian(torch.zeros(1), variance, process)


def likelihood(noise=NOISE, y=Y):
    return gk.objectives.LinearGaussian(torch.eye(1), torch.full((1,), y), noise)


def on(low, high):
    return gk.samplers.Ancestral(times=Levels(low, high))


def levels(sampler, steps, process=EDM):
    """s / a of a grid."""
    return [process.level(t) for t in sampler.grid(gaussian(process), steps)]


def close(samples, mean, variance):
    """Mean and standard deviation of one number, within 4 of their standard errors."""
    std = math.sqrt(variance)
    assert float(samples.mean()) == pytest.approx(mean, abs=4 * std / math.sqrt(len(samples)))
    assert float(samples.std()) == pytest.approx(std, rel=4 / math.sqrt(2 * len(samples)))


def daps_law(found, variance):
    """(mean, variance) in the end of DAPS on N(0, 1) with y = x_0 + noise, step by step."""
    mean, spread = 0.0, found[0] ** 2
    for high, low in zip(found, found[1:], strict=False):
        v = high**2 if variance is None else variance * high**2 / (variance + high**2)
        weight = v / (v + NOISE**2)
        scale = (1 - weight) / (1 + high**2)
        mean, spread = scale * mean + weight * Y, scale**2 * spread + (1 - weight) * v + low**2
    return mean, spread


@pytest.mark.parametrize("variance", [None, 0.5, 1.0])
def test_daps_has_the_law_of_its_surrogate(variance):
    sampler = on(0.02, 20.0)
    mean, spread = daps_law(levels(sampler, 12), variance)
    found = gk.sample(gaussian(), gk.guidance.DAPS(likelihood(), variance=variance), N, 12, 0, sampler).samples
    close(found, mean, spread)
    assert (abs(mean - 0.8) < 1e-3 and abs(spread - 0.2) < 1e-3) == (variance == 1.0)


@pytest.mark.parametrize("process", [gk.processes.VP(), gk.processes.Flow(), gk.processes.VP("cosine")])
def test_daps_with_the_variance_of_the_prior_is_exact_on_every_process(process):
    found = gk.sample(gaussian(process, 2.0), gk.guidance.DAPS(likelihood(), variance=2.0), N, 8).samples
    variance = 1 / (1 / 2.0 + 1 / NOISE**2)
    close(found, variance / NOISE**2 * Y, variance)


def test_annealing_with_the_exact_conditional_is_exact_on_a_mixture():
    """Table: P(x > 0) .620 and standard deviation 1.922 of two modes, whatever the steps."""
    prior = gk.priors.GaussianMixture(torch.tensor([[-2.0], [2.0]]), 0.3, process=EDM)
    law = prior.posterior(likelihood(2.0, 0.5))

    def conditional(population, step, draw):
        a, s = population.process.coefficients(step.t)
        x, var = population.state, 1 / (1 / law.covariances[:, 0, 0] + a**2 / s**2)
        means = var * (law.means[:, 0] / law.covariances[:, 0, 0] + a * x / s**2)
        spread = a**2 * law.covariances[:, 0, 0] + s**2
        log_w = law.log_w - 0.5 * ((x - a * law.means[:, 0]) ** 2 / spread + spread.log())
        first = draw.named("mode").uniform(len(x)) < torch.softmax(log_w, 1)[:, 0]
        noise = draw.named("noise").normal(x)[:, 0]
        return torch.where(first, means[:, 0] + var[0].sqrt() * noise, means[:, 1] + var[1].sqrt() * noise)[:, None]

    found = gk.sample(prior, DecoupledAnnealing(conditional), N, 6).samples
    share = float(law.weights[1])
    assert share == pytest.approx(0.620, abs=1e-3)
    assert float((found > 0).double().mean()) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / N))
    assert float(found.std()) == pytest.approx(float(law.covariance()[0, 0].sqrt()), rel=0.02)


class Mixing(Linear):
    """Three sums of the six numbers of a state (1, 6), with nothing but the adjoint by differentiation."""

    shape = (1, 6)
    matrix = torch.tensor([[1.0, 0.5, 0, 0, 0, 0], [0, 0, 1, -1, 0, 0.3], [0.2, 0, 0, 0, 1, 0]], dtype=torch.float64)

    def forward(self, x):
        return x.flatten(1) @ self.matrix.to(x).T


def field():
    torch.manual_seed(1)
    return gk.priors.GaussianField.fit(torch.randn(40, 1, 6).cumsum(-1).double(), basis="dense")


def posterior(covariance, mean, y, noise):
    """Of x ~ N(mean, covariance) given y = matrix x + noise."""
    matrix = Mixing.matrix
    seen = matrix @ covariance @ matrix.T + noise**2 * torch.eye(3, dtype=torch.float64)
    gain = covariance @ matrix.T @ torch.linalg.inv(seen)
    return mean + gain @ (y - matrix @ mean), covariance - gain @ matrix @ covariance


def moments(found, mean, covariance):
    """Means and covariances within 4.5 standard errors; there are 42 of them."""
    std, n = covariance.diagonal().sqrt(), len(found)
    assert ((found.double().mean(0) - mean).abs() < 4.5 * std / math.sqrt(n)).all()
    bound = (torch.outer(std, std) ** 2 + covariance**2).sqrt()
    assert ((found.double().T.cov() - covariance).abs() < 4.5 * bound / math.sqrt(n)).all()


def test_daps_with_its_field_is_exact_on_the_field():
    prior, y = field(), torch.tensor([[1.0, -0.5, 0.3]])
    fit = gk.objectives.GaussianLikelihood(Mixing(), y, 0.3)
    found = gk.sample(prior, gk.guidance.DAPS(fit, prior), N, 5).samples.flatten(1)
    dense = prior.dense()
    moments(found, *posterior(dense.covariance(), dense.mean(), y[0].double(), 0.3))


def population_of(prior, guidance, count):
    setup = prepare(prior, guidance, count, 4, 0).setup
    return populate(setup, torch.zeros(count, *prior.event_shape), Moment(0.5, 0), 1)


@pytest.mark.parametrize("kind", ["adjoint", "svd", "field"])
def test_draws_around_a_center_have_the_conditional_law(kind):
    prior, y = field(), torch.tensor([[1.0, -0.5, 0.3]])
    operator = Mixing() if kind != "svd" else Dense(Mixing.matrix, (1, 6))
    fit = Fit(gk.objectives.GaussianLikelihood(operator, y, 0.3), 0.01, 30)
    spread = OfField(prior) if kind == "field" else Round(0.7)
    population = population_of(prior, gk.guidance.DAPS(fit.likelihood), N)
    center = torch.linspace(-1, 1, 6).view(1, 1, 6).expand(N, 1, 6)
    near = Near(center, spread, 0.8, 0.6)
    eye = torch.eye(6, dtype=torch.float64).view(6, 1, 6)
    covariance = spread.times(eye, 0.8, 0.6).view(6, 6)
    mean, expected = posterior(covariance, center[0, 0].double(), y[0].double(), 0.3)
    moments(fit.draw(population, near, draw(N)).flatten(1), mean, expected)
    assert torch.allclose(fit.mode(population, near)[0, 0].double(), mean, atol=1e-4)


def test_variances_of_a_round_spread():
    assert Round().number(0.8, 0.6) == pytest.approx(0.5625)
    assert Round(2.0).number(0.8, 0.6) == pytest.approx(1 / (1 / 2 + 0.64 / 0.36))
    assert Round(2.0, 0.5).number(0.8, 0.6) == pytest.approx(0.5 / (1 / 2 + 0.64 / 0.36))


def test_each_sample_has_its_own_measurement_and_noise_whatever_the_batch():
    y, noise = torch.tensor([[-2.0], [0.0], [3.0]]).repeat(400, 1), torch.tensor([0.1, 0.5, 2.0]).repeat(400)
    fit = gk.objectives.LinearGaussian(torch.eye(1), y, noise)
    for guidance in (
        gk.guidance.DAPS(fit),
        gk.guidance.PnPDM(fit, 3),
        gk.guidance.DiffPIR(fit),
        gk.guidance.REDDiff(fit),
    ):
        whole = gk.sample(gaussian(), guidance, 1200, 6).samples
        assert torch.allclose(whole, gk.sample(gaussian(), guidance, 1200, 6, batch_size=500).samples, atol=1e-5)
    whole = gk.sample(gaussian(), gk.guidance.DAPS(fit), 1200, 6).samples.view(400, 3)
    variance = 1 / (1 + 1 / torch.tensor([0.1, 0.5, 2.0]) ** 2)
    mean = variance / torch.tensor([0.1, 0.5, 2.0]) ** 2 * torch.tensor([-2.0, 0.0, 3.0])
    assert ((whole.mean(0) - mean).abs() < 4.5 * (variance / 400).sqrt()).all()
    assert torch.allclose(whole.std(0), variance.sqrt(), rtol=4 / math.sqrt(800))


def test_langevin_steps_draw_from_a_law_with_two_modes_and_from_a_skew_one():
    """|x| = 1 + .7 noise around N(.2, 1), and x^2 = 1 + .5 noise around N(1, .2): by quadrature."""
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    for function, noise, middle, variance in ((torch.abs, 0.7, 0.2, 1.0), (torch.square, 0.5, 1.0, 0.2)):

        def score(x, function=function, noise=noise):
            return -0.5 * ((1 - function(x[:, 0])) / noise) ** 2

        center, root = torch.full((1000, 1), middle), lambda w, variance=variance: variance**0.5 * w
        log_law = score(grid[:, None]) - 0.5 * (grid - middle) ** 2 / variance
        law = torch.softmax(log_law, 0)
        found = wandered(score, center, root, 100, draw(1000)).double()[:, 0]
        mean = float((law * grid).sum())
        std = float((law * (grid - mean) ** 2).sum().sqrt())
        close(found, mean, std**2)
        close(
            found.abs(), float((law * grid.abs()).sum()), float((law * grid**2).sum() - (law * grid.abs()).sum() ** 2)
        )
        best = climbed(score, center[:1], root, 60)
        near = log_law[(grid - float(best)).abs() < 0.3].max()
        assert float(log_law[(grid - float(best)).abs().argmin()]) == pytest.approx(float(near), abs=1e-3)


def test_daps_of_a_measurement_that_is_not_linear():
    """Of |x| = 1 under N(0, 1): both signs, by quadrature."""
    fit = gk.objectives.GaussianLikelihood(torch.abs, torch.ones(1, 1), 0.3)
    found = gk.sample(gaussian(), gk.guidance.DAPS(fit, iterations=40), 1000, 12).samples
    grid = torch.linspace(0, 6, 20_001)
    law = torch.softmax(-0.5 * ((1 - grid) / 0.3) ** 2 - 0.5 * grid**2, 0)
    mean = float((law * grid).sum())
    close(found.abs(), mean, float((law * (grid - mean) ** 2).sum()))
    assert float((found > 0).double().mean()) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(1000))


def exact_half(population, prediction, draw):
    """p(x_0 | x_t) of N(0, 1)."""
    a, s = prediction.a, prediction.s
    return prediction.mean + s / math.sqrt(a * a + s * s) * draw.normal(prediction.mean)


@pytest.mark.parametrize("process", [EDM, gk.processes.VP()])
def test_split_gibbs_has_its_law_at_a_fixed_rho(process):
    """x ~ N(0, 1) given y = x + noise + rho noise; 25 turns forget the start to below the Monte-Carlo error."""
    rho = 0.5
    one = gk.samplers.Ancestral(times=lambda process, steps: [process.at_level(rho), 0.0])
    guidance = SplitGibbs(Fit(likelihood(), 0.01, 5), exact_half, 25)
    found = gk.sample(gaussian(process), guidance, N, 1, 0, one).samples
    variance = 1 / (1 + 1 / (NOISE**2 + rho**2))
    close(found, variance * Y / (NOISE**2 + rho**2), variance)


def test_turns_between_levels_use_the_level_that_comes():
    """Two levels, one turn each, step by step."""
    found = [10.0, 2.0, 0.7]
    sampler = gk.samplers.Ancestral(times=lambda process, steps: [*map(process.at_level, found), 0.0])
    guidance = SplitGibbs(Fit(likelihood(), 0.01, 5), exact_half)
    mean, spread = 0.0, 100.0
    for high, low in zip(found, [*found[1:], 0.0], strict=True):
        scale = 1 / (1 + high**2)
        mean, spread = scale * mean, scale**2 * spread + high**2 * scale
        if low:
            weight = low**2 / (low**2 + NOISE**2)
            mean, spread = (1 - weight) * mean + weight * Y, (1 - weight) ** 2 * spread + (1 - weight) * low**2
    close(gk.sample(gaussian(), guidance, N, 3, 0, sampler).samples, mean, spread)


def test_walks_follow_the_flow_or_draw_from_the_conditional_law():
    """From x at level 2 the flow of N(0, 1) leads to x / sqrt(5) at second order; the diffusion to N(x / 5, 4 / 5)."""
    prior, guidance = gaussian(), gk.guidance.PnPDM(likelihood())
    population = population_of(prior, guidance, N)
    step = Step(Moment(EDM.at_level(2.0), 0), Moment(0.0, 1), (0,))
    population = population.at(torch.full((N, 1), 1.5), step.start)

    def end(calls, order, drawn=None):
        return walked(population, population.predict(), calls, order, drawn)

    exact = 1.5 / math.sqrt(5)
    errors = {order: [abs(float(end(n, order)[0]) - exact) for n in (8, 16, 32)] for order in (1, 2)}
    assert math.log2(errors[1][1] / errors[1][2]) == pytest.approx(1, abs=0.3)
    assert errors[2][1] < errors[1][1] / 5 and errors[2][2] < errors[2][1] / 2.5
    found = end(60, 2, draw(N))
    assert float(found.mean()) == pytest.approx(0.3, abs=4 * math.sqrt(0.8 / N) + 0.005)
    assert float(found.std()) == pytest.approx(math.sqrt(0.8), rel=4 / math.sqrt(2 * N) + 0.02)
    assert torch.equal(end(1, 2, draw(N)), population.predict().mean)
    assert gk.sample(prior, gk.guidance.PnPDM(likelihood(), 4, 3), 10, 5).ledger.network_rows == 10 * 5 * 3 * 4
    assert gk.sample(prior, gk.guidance.DAPS(likelihood(), calls=3), 10, 5).ledger.network_rows == 10 * 5 * 3


@pytest.mark.parametrize(("weight", "zeta"), [(1.0, 1.0), (2.0, 0.5), (7.0, 0.1)])
@pytest.mark.parametrize("process", [EDM, gk.processes.VP()])
def test_diffpir_has_the_law_of_its_steps(weight, zeta, process):
    """x / a, step by step: z = (1 - w) D + w y with w = v / (v + noise^2), v = level^2 / weight."""
    sampler = on(0.1, 10.0)
    found = levels(sampler, 15, process)
    t = sampler.grid(gaussian(process), 15)[0]
    a, _ = process.coefficients(t)
    mean, spread = 0.0, (process.coefficients(t)[1] / a) ** 2
    for high, low in zip(found, found[1:], strict=False):
        w = high**2 / weight / (high**2 / weight + NOISE**2)
        kept = low * math.sqrt(1 - zeta) / high
        scale, shift = (1 - w) / (1 + high**2), w * Y
        mean, spread = (
            (scale * (1 - kept) + kept) * mean + (1 - kept) * shift,
            (scale * (1 - kept) + kept) ** 2 * spread + zeta * low**2,
        )
    guidance = gk.guidance.DiffPIR(likelihood(), weight, zeta)
    close(gk.sample(gaussian(process), guidance, N, 15, 0, sampler).samples, mean, spread)


def test_diffpir_is_right_on_average_and_narrow():
    """Table: mean .80 and standard deviation .31 where the posterior has .80 and .447."""
    found = gk.sample(
        gaussian(gk.processes.VP()), gk.guidance.DiffPIR(likelihood()), N, 200, 0, on(0.002, 80.0)
    ).samples
    assert float(found.mean()) == pytest.approx(0.805, abs=0.02)
    assert float(found.std()) == pytest.approx(0.31, abs=0.02)


def test_limits_of_diffpir():
    prior, sampler = gaussian(), on(0.1, 10.0)
    free = gk.sample(prior, gk.guidance.DiffPIR(likelihood(), 1e9, 0.0), 16, 10, 0, sampler).samples
    assert torch.allclose(
        free, gk.sample(prior, None, 16, 10, 0, gk.samplers.DDIM(times=Levels(0.1, 10.0))).samples, atol=1e-5
    )
    tied = gk.sample(prior, gk.guidance.DiffPIR(likelihood(1e-9), 1.0, 1.0, 1e-6), 16, 10, 0, sampler).samples
    assert torch.allclose(tied, torch.ones(16, 1), atol=1e-5)
    same = gk.objectives.GaussianLikelihood(lambda x: x, torch.ones(1, 1), NOISE)
    by_steps = gk.sample(prior, gk.guidance.DiffPIR(same, iterations=60), 16, 6, 0, sampler).samples
    exact = gk.sample(prior, gk.guidance.DiffPIR(likelihood()), 16, 6, 0, sampler).samples
    assert torch.allclose(by_steps, exact, atol=1e-3)


def test_adam_is_that_of_torch():
    mu = torch.tensor([[1.0, -2.0]], requires_grad=True)
    adam = torch.optim.Adam([mu], lr=0.1, betas=(0.9, 0.99))
    zero = torch.zeros(1, 2)
    optimum = Optimum(mu.detach().clone(), zero, zero, torch.zeros(1, dtype=torch.int64))
    for number in range(5):
        mu.grad = torch.tensor([[0.3 * number - 1, 2.0 + number]])
        optimum = optimum.moved(mu.grad, 0.1)
        adam.step()
    assert torch.allclose(optimum.mu, mu.detach(), atol=1e-6)


@pytest.mark.parametrize("process", [EDM, gk.processes.VP()])
def test_red_diff_finds_the_point_where_its_gradient_vanishes(process):
    """At a fixed level E[noise - e] of N(0, 1) is linear in mu: mu = 2 y / (2 + weight a s / (a^2 + s^2))."""
    t, weight = process.at_level(0.8), 4.0
    a, s = process.coefficients(t)
    stay = gk.samplers.Ancestral(times=lambda process, steps: [t * (1 - 1e-9 * i) for i in range(steps)] + [0.0])
    found = gk.sample(gaussian(process), gk.guidance.REDDiff(likelihood(), weight, 0.01), 400, 400, 0, stay).samples
    assert float(found.mean()) == pytest.approx(2 * Y / (2 + weight * a * s / (a * a + s * s)), abs=0.02)


def test_red_diff_is_a_point_estimate_not_a_sampler():
    """Table: it collapses onto y = 1 where the posterior has mean .80 and deviation .447, and on one mode of two."""
    process = gk.processes.VP()
    found = gk.sample(gaussian(process), gk.guidance.REDDiff(likelihood()), 500, 200).samples
    assert float(found.mean()) == pytest.approx(1.0, abs=0.02) and float(found.std()) < 0.1
    modes = gk.priors.GaussianMixture(torch.tensor([[-2.0], [2.0]]), 0.3, process=process)
    found = gk.sample(modes, gk.guidance.REDDiff(likelihood(2.0, 0.5)), 500, 200).samples
    assert float((found > 0).double().mean()) > 0.99 and float(found.std()) < 0.1


G = gk.guidance
SOLVERS = {"DAPS": G.DAPS, "PnPDM": G.PnPDM, "DiffPIR": G.DiffPIR, "REDDiff": G.REDDiff}


@pytest.mark.parametrize("name", SOLVERS)
def test_what_they_do_not_take(name):
    prior, fit = gaussian(), likelihood()
    guidance = SOLVERS[name](fit)
    with pytest.raises(gk.GuidanceError, match=f"{name} takes its own steps and needs a sampler for the time grid"):
        gk.sample(prior, guidance, 2, 4, sampler="heun")
    with pytest.raises(gk.GuidanceError, match="leave out the filter"):
        gk.sample(prior, gk.chain(guidance, G.FKSteering(fit, particles=2)), 2, 4)
    with pytest.raises(gk.GuidanceError, match="would ignore (those|the steps) of DPS"):
        gk.sample(prior, gk.chain(G.DPS(fit), guidance), 2, 4)
    black_box = gk.objectives.Reward(lambda x: x.sum(1), differentiable=False)
    with pytest.raises(gk.GuidanceError, match="is a black box"):
        gk.sample(prior, SOLVERS[name](black_box), 2, 4)
    if name in ("DAPS", "DiffPIR"):
        gk.sample(prior, gk.chain(guidance, G.SVDD(fit, 2)), 2, 4)
    else:
        with pytest.raises(gk.GuidanceError, match="SVDD"):
            gk.sample(prior, gk.chain(guidance, G.SVDD(fit, 2)), 2, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: G.DAPS(f, variance=0.0), "variance must be above 0"),
        (lambda f: G.DAPS(f, variance="net"), 'variance must be above 0, "network", or None'),
        (lambda f: G.DAPS(f, calls=0), "calls must be a whole number of at least 1, got 0"),
        (lambda f: G.PnPDM(f, rounds=0), "rounds must be"),
        (lambda f: G.DiffPIR(f, weight=0.0), "weight must be above 0"),
        (lambda f: G.DiffPIR(f, zeta=1.5), "zeta is a share"),
        (lambda f: G.DiffPIR(f, floor=0.0), "floor must be above 0"),
        (lambda f: G.REDDiff(f, rate=0.0), "rate=0"),
    ],
)
def test_settings_outside_their_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(likelihood())


def test_daps_with_the_covariance_of_a_gaussian_is_exact():
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    prior = gk.priors.Gaussian(torch.tensor([0.5, 0.0]), covariance, gk.processes.VP())
    fit = gk.objectives.LinearGaussian(torch.tensor([[1.0, 0.0]]), torch.ones(1), 0.2)
    found, law = gk.sample(prior, G.DAPS(fit, prior), N, 4).samples, prior.posterior(fit)
    moments(found, law.mean().double(), law.covariance().double())


def test_a_field_of_other_states_is_refused():
    fit = gk.objectives.GaussianLikelihood(Mixing(), torch.zeros(1, 3), 0.3)
    with pytest.raises(gk.GuidanceError, match=r"the field has states \(1, 6\), and those of this prior"):
        gk.sample(gaussian(), G.DAPS(likelihood(), field()), 2, 4)
    with pytest.raises(gk.GuidanceError, match="GaussianField.fit"):
        gk.sample(field(), G.DAPS(fit, gk.priors.GaussianMixture(torch.zeros(2, 6), 1.0)), 2, 4)


def test_a_prior_that_is_told_what_is_known_is_exact():
    """The estimate is that of the posterior of the field, every row with its own mask; without a mask the field's."""
    known_field = field()
    told = gk.priors.InformedField(known_field, 0.2, 1e-10)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 1, 6, generator=generator, dtype=torch.float64)
    values = torch.randn(2, 1, 6, generator=generator, dtype=torch.float64)
    masks = torch.tensor([[[1.0, 0, 0, 1, 1, 0]], [[0, 1.0, 0, 0, 0, 0]]], dtype=torch.float64)
    t = EDM.at_level(0.7)
    found = told.predict(x, t, torch.cat([values * masks, masks], 1)).mean
    for row in range(2):
        keep = Keep(masks[row].bool())
        law = known_field.posterior(gk.objectives.GaussianLikelihood(keep, values[row : row + 1] * masks[row], 0.2))
        assert torch.allclose(found[row], law.predict(x[row : row + 1], t).mean[0], atol=1e-6)
    nothing = told.predict(x, t, told.null(2)).mean
    assert torch.allclose(nothing, known_field.predict(x, t).mean, atol=1e-9)


def test_masked_input_leaves_what_is_known_exact_and_tells_the_network():
    prior, mask = field(), torch.tensor([[True, True, False, False, True, False]])
    y = torch.tensor([[[0.5, -1.0, 0, 0, 2.0, 0]]])
    fit = gk.objectives.GaussianLikelihood(Keep(mask), y, 0.01)
    law = prior.posterior(fit)
    result = gk.sample(gk.priors.InformedField(prior, 0.01, 1e-6), G.MaskedInput(fit), 500, 20, 0, on(0.02, 10.0))
    assert torch.equal(result.samples[:, mask], y.to(result.samples)[:, mask].expand(500, -1))
    spread = law.variances()[~mask].sqrt()
    assert ((result.samples[:, ~mask].double().mean(0) - law.mean()[0][~mask]).abs() < 0.3 * spread).all()
    with pytest.raises(gk.GuidanceError, match="was not made to be told"):
        gk.sample(prior, G.MaskedInput(fit), 2, 4)


def test_learned_operator_with_a_known_pair_is_a_projection_and_without_strength_nothing():
    prior, mask = field(), torch.tensor([[True, True, False, False, True, False]])
    y = torch.tensor([[[0.5, -1.0, 0, 0, 2.0, 0]]])
    fit = gk.objectives.GaussianLikelihood(Keep(mask), y, 0.01)
    options = dict(num_samples=4, steps=5, sampler=on(0.1, 10.0))
    whole = gk.sample(prior, G.LearnedOperator(fit, 1.0), **options).samples
    assert torch.allclose(whole[:, mask], y.to(whole)[:, mask].expand(4, -1), atol=1e-6)
    plain = gk.sample(prior, None, **options).samples
    assert torch.equal(gk.sample(prior, G.LearnedOperator(fit, 0.0), **options).samples, plain)
    known = gk.sample(prior, G.LearnedOperator(fit, 1.0, perturbed=False), **options).samples
    assert torch.allclose(known, whole, atol=1e-6)


@pytest.mark.parametrize(("axes", "stride"), [(1, 1), (1, 2), (2, 2)])
def test_a_kernel_is_found_from_a_few_pairs(axes, stride):
    from guidekit.guidance.inverse.learned_operator import blurred

    generator = torch.Generator().manual_seed(0)
    states = torch.randn(60, 1, *(12,) * axes, generator=generator, dtype=torch.float64)
    kernel = torch.rand((3,) * axes, generator=generator, dtype=torch.float64)
    found = G.fit_operator(states[:40], blurred(states[:40], kernel, stride), states, 5, 1e-9, 1e-3)
    inner = found.kernel[(slice(1, 4),) * axes]
    assert torch.allclose(inner, kernel, atol=1e-5) and float(found.kernel.abs().sum() - inner.abs().sum()) < 1e-4
    again = found.forward(found.pinv(found.forward(states)))
    assert float((again - found.forward(states)).std() / found.forward(states).std()) < 0.1


def test_input_adaptation_limits_and_ensembles():
    torch.manual_seed(0)
    prior = gk.priors.GaussianField.fit(torch.randn(50, 1, 8).cumsum(-1), "dense", process=gk.processes.VP())
    given = torch.randn(3, 1, 8)
    options = dict(num_samples=3, steps=10, sampler="ancestral")
    free = gk.sample(prior, G.InputAdaptation(given, 0.5, 0.0), **options).samples
    assert torch.allclose(free, gk.sample(prior, G.FromSample(given, 0.5), **options).samples)
    held = gk.sample(prior, G.InputAdaptation(given, 0.5, 1.0), **options).samples
    means = [each.view(3, 2, 4).mean(2) for each in (given, free, held)]
    assert (means[2] - means[0]).norm() < (means[1] - means[0]).norm()
    one, other = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.1, 0.0]])
    assert torch.equal(G.self_ensemble(one, other), one + other)
    weighted = G.self_ensemble(one, other, True)
    assert (weighted - one).abs().max() < (weighted - other).abs().max()
    assert torch.allclose(G.self_ensemble(one, one, True), one)


def test_annealing_noises_by_the_level_that_comes():
    """z = x: two levels give the sum of their variances."""
    sampler = gk.samplers.Ancestral(times=lambda process, steps: [*map(process.at_level, (2.0, 1.9)), 0.0])
    guidance = DecoupledAnnealing(lambda population, step, draw: population.state)
    close(gk.sample(gaussian(), guidance, N, 2, 0, sampler).samples, 0.0, 2.0**2 + 1.9**2)


def test_the_variance_that_a_network_leaves_is_seen_in_its_answer_to_the_noise():
    """64 numbers N(1, .25) and 64 known ones: half of .25 s^2 / (.25 a^2 + s^2), and a guess of 1 that counts 16."""
    law = torch.cat([torch.full((64,), 0.25), torch.full((64,), 1e-8)])
    for process in (EDM, gk.processes.VP("cosine")):
        prior, t = gk.priors.Gaussian(torch.ones(128), law.diag(), process), process.at_level(0.5)
        a, s = process.coefficients(t)
        noise = torch.randn(2, 2000, 128, generator=torch.Generator().manual_seed(0))
        z = 1 + law.sqrt() * noise[0]
        found = answered(prior.predict(a * z + s * noise[1], t), z)
        guess = s * s / (a * a + s * s)
        expected = (128 * 0.5 * 0.25 * s * s / (0.25 * a * a + s * s) + GUESSED * guess) / (128 + GUESSED)
        assert float(found.mean()) == pytest.approx(expected, abs=4 * float(found.std()) / math.sqrt(2000))
        assert float(found.std()) < 0.25 * expected
        assert torch.allclose(answered(prior.predict(z, t), torch.full_like(z, math.nan)), torch.tensor(guess))


def test_daps_uses_the_variance_that_the_network_leaves():
    """One number: 16 parts of 1 s^2 / (1 + s^2) and one of what is seen are the posterior, within .02 of its spread."""
    found = gk.sample(gaussian(), gk.guidance.DAPS(likelihood()), N, 12, 0, on(0.02, 20.0)).samples
    assert float(found.mean()) == pytest.approx(0.8, abs=0.02)
    assert float(found.std()) == pytest.approx(math.sqrt(0.2), rel=0.02 + 4 / math.sqrt(2 * N))
