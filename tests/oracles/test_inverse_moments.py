"""Solvers that use a measurement's algebra: exact where theory says so, biased as their pages tell."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.kernel import GaussianKernel
from guidekit.core.loop import prepare
from guidekit.core.objective import ScoreError
from guidekit.core.step import Moment, Step
from guidekit.guidance.inverse.c_dps import CoupledKernel, lowered
from guidekit.guidance.inverse.conjugate import solved
from guidekit.guidance.inverse.ddnm import weighed_step
from guidekit.guidance.inverse.ddrm import ruled_step, started
from guidekit.guidance.inverse.fps import product
from guidekit.guidance.inverse.measurement import Coefficients, Measurement
from guidekit.guidance.inverse.spectral import Place, SpectralKernel
from guidekit.objectives.operators.base import Linear, Spectrum
from guidekit.objectives.operators.dense import Dense
from guidekit.objectives.operators.masks import Keep
from guidekit.objectives.operators.resampling import BlockMean
from guidekit.samplers import DDIM, Ancestral, DPMSolver, Heun

G, F64 = gk.guidance, torch.float64
PROCESSES = [gk.processes.VP("cosine"), gk.processes.EDM(), gk.processes.Flow(), gk.processes.SubVP()]
STEP = Step(Moment(0.5, 0), Moment(0.4, 1), (0,))
WIDE = {"name": "karras", "low": 0.002, "high": 80.0}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def covariance(size, seed=0):
    root = normal(size, size, seed=seed)
    return root @ root.T / size + 0.1 * torch.eye(size, dtype=F64)


def population(prior, guidance, rows=5, **options):
    setup = prepare(prior, guidance, sampler=Ancestral(), steps=8, groups=(0, rows), dtype=F64, **options)
    return setup.begin()


class Bare(Linear):
    """A matrix that offers its adjoint alone, by differentiation."""

    def __init__(self, matrix, shape):
        self.matrix, self.shape = matrix, shape

    def forward(self, x):
        return x.flatten(1) @ self.matrix.to(x).T


def compared(prior, guidance, posterior, rows=5):
    """Largest difference of the guided and the conditional denoiser at random states and times."""
    people = population(prior, guidance, rows)
    gaps = []
    for seed, t in enumerate((0.05, 0.3, 0.7, 0.97)):
        a, s = prior.process.coefficients(t)
        x = math.sqrt(a * a + s * s) * normal(rows, *prior.event_shape, seed=seed + 10)
        gaps.append((people.ask(x, t).mean - posterior(x, t)).abs().max())
    return float(max(gaps))


# --- exact denoisers


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("noise", [0.3, 0.0])
def test_moments_and_fields_give_the_conditional_denoiser_of_a_gaussian(process, noise):
    prior = gk.priors.Gaussian(normal(6, seed=1), covariance(6), process)
    likelihood = gk.objectives.LinearGaussian(normal(3, 6, seed=2), normal(3, seed=3), noise)
    exact = prior.posterior(likelihood) if noise else None  # without noise its covariance is singular

    def conditional(x, t):
        if exact is not None:
            return exact.predict(x, t).mean
        mean, spread = prior.predict(x, t).mean, gk.priors.gaussian.posterior_covariance(prior, t)
        gain = spread @ likelihood.a.T @ torch.linalg.inv(likelihood.a @ spread @ likelihood.a.T)
        return mean + likelihood.residual(mean) @ gain.T

    for guidance in (G.MMPS(likelihood, 3), G.FieldCorrection(likelihood, prior)):
        assert compared(prior, guidance, conditional) < 1e-6


@pytest.mark.parametrize("process", PROCESSES)
def test_pseudo_inverse_guidance_gives_that_of_a_round_gaussian(process):
    matrix, y = normal(3, 6, seed=2), normal(1, 3, seed=3)
    exact = gk.objectives.LinearGaussian(matrix, y[0], 0.3)
    for variance in (1.0, 0.4):
        prior = gk.priors.Gaussian(normal(6, seed=1), variance, process)
        posterior = prior.posterior(exact)
        for operator in (Dense(matrix), Bare(matrix, (6,))):
            guidance = G.PiGDM(gk.objectives.GaussianLikelihood(operator, y, 0.3), variance)
            assert compared(prior, guidance, lambda x, t, of=posterior: of.predict(x, t).mean) < 1e-6


def test_row_sums_are_exact_for_independent_numbers_and_not_for_others():
    mask, noise = torch.tensor([True, False, True, True]), 0.3
    likelihood = gk.objectives.GaussianLikelihood(Keep(mask), normal(1, 4) * mask, noise)
    linear = gk.objectives.LinearGaussian(torch.eye(4, dtype=F64)[mask], normal(1, 4)[0, mask], noise)
    for spread, close in ((torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=F64), True), (covariance(4), False)):
        prior = gk.priors.Gaussian(normal(4, seed=1), spread)
        posterior = prior.posterior(linear)
        gap = compared(prior, G.TMPD(likelihood), lambda x, t, of=posterior: of.predict(x, t).mean)
        assert (gap < 1e-9) is close


def test_one_iteration_is_the_first_step_of_conjugate_gradients():
    prior = gk.priors.Gaussian(normal(6, seed=1), covariance(6), gk.processes.EDM())
    matrix, y = normal(3, 6, seed=2), normal(3, seed=3)
    likelihood = gk.objectives.LinearGaussian(matrix, y, 0.25)

    def by_hand(x, t):
        mean = prior.predict(x, t).mean
        spread = gk.priors.gaussian.posterior_covariance(prior, t)
        system, gap = matrix @ spread @ matrix.T + 0.0625 * torch.eye(3, dtype=F64), y - mean @ matrix.T
        size = gap.square().sum(1) / torch.einsum("bi,ij,bj->b", gap, system, gap)
        return mean + size[:, None] * gap @ matrix @ spread

    assert compared(prior, G.MMPS(likelihood, 1), by_hand) < 1e-9


def test_each_sample_has_its_own_measurement_and_noise_also_in_chunks():
    prior = gk.priors.Gaussian(normal(4, seed=1), covariance(4))
    matrix, y, noise = normal(2, 4, seed=2), normal(6, 2, seed=3), torch.linspace(0.1, 0.6, 6, dtype=F64)
    fields = {"prior": prior, "dtype": F64, "steps": 6, "sampler": DPMSolver()}
    for make in (G.MMPS, G.PiGDM, G.TMPD, lambda one: G.FieldCorrection(one, prior)):
        together = gk.sample(guidance=make(gk.objectives.LinearGaussian(matrix, y, noise)), num_samples=6, **fields)
        chunks = gk.sample(
            guidance=make(gk.objectives.LinearGaussian(matrix, y, noise)), num_samples=6, batch_size=4, **fields
        )
        assert torch.allclose(together.samples, chunks.samples, atol=1e-9)
        alone = gk.sample(
            guidance=make(gk.objectives.LinearGaussian(matrix, y[0], float(noise[0]))), num_samples=1, **fields
        )
        assert torch.allclose(together.samples[:1], alone.samples, atol=1e-9)


def test_pieces_of_a_call_give_the_same_and_backward_passes_are_counted():
    prior = gk.priors.Gaussian(normal(4, seed=1), covariance(4))
    likelihood = gk.objectives.LinearGaussian(normal(2, 4, seed=2), normal(2, seed=3), 0.3)
    x = normal(5, 4, seed=5)
    whole, pieces = (population(prior, G.MMPS(likelihood, 2), network_limit=limit) for limit in (None, 2))
    assert torch.allclose(whole.ask(x, 0.5).mean, pieces.ask(x, 0.5).mean, atol=1e-12)
    assert whole.setup.network.ledger.backward_passes == 3
    assert pieces.setup.network.ledger.backward_passes == 9
    field = population(prior, G.FieldCorrection(likelihood, prior))
    field.ask(x, 0.5)
    assert field.setup.network.ledger.backward_passes == 0


def test_float32_states_of_pictures_take_a_float64_measurement_of_another_shape():
    shape = (1, 4, 4)
    field = gk.priors.GaussianField(torch.zeros(shape), torch.ones(shape), "cosine")
    y = normal(1, 1, 2, 2)
    likelihood = gk.objectives.GaussianLikelihood(BlockMean(shape, 2), y, 0.01)
    for guidance in (G.MMPS(likelihood), G.PiGDM(likelihood), G.FieldCorrection(likelihood, field), G.TMPD(likelihood)):
        result = gk.sample(field, guidance, 3, 12)
        assert result.samples.dtype == torch.float32 and result.samples.shape == (3, *shape)
        assert (BlockMean(shape, 2).forward(result.samples).double() - y).abs().max() < 0.06
    for guidance in (G.DDNM(likelihood), G.DDRM(likelihood), G.FPS(likelihood)):
        assert (BlockMean(shape, 2).forward(gk.sample(field, guidance, 3, 12).samples).double() - y).abs().max() < 0.3


# --- conjugate gradients


def test_conjugate_gradients_solve_and_stop_where_there_is_nothing_to_gain():
    matrix, wanted = covariance(5), normal(3, 5, seed=4)
    assert torch.allclose(solved(lambda v: v @ matrix, wanted, 5), torch.linalg.solve(matrix, wanted.T).T, atol=1e-10)
    assert torch.allclose(solved(lambda v: v @ matrix, wanted, 50), torch.linalg.solve(matrix, wanted.T).T, atol=1e-10)
    flat = torch.diag(torch.tensor([2.0, 0.0, 1.0, 0.0, 3.0], dtype=F64))  # singular, and the right side in its range
    image = wanted @ flat
    assert torch.allclose(solved(lambda v: v @ flat, image, 9) @ flat, image, atol=1e-10)
    assert bool((solved(lambda v: -v, wanted, 4) == 0).all())  # a row that has no curvature stays
    assert bool((solved(lambda v: 0.1 * v, wanted, 4, 0.3) == 0).all())  # nor one with less than there can be
    mixed = solved(lambda v: v * torch.tensor([[1.0], [-1.0], [2.0]], dtype=F64), wanted, 3)
    assert torch.allclose(mixed, wanted * torch.tensor([[1.0], [0.0], [0.5]], dtype=F64), atol=1e-12)
    assert bool((solved(lambda v: v @ matrix, 0 * wanted, 3) == 0).all())


# --- laws of single steps


def basis(std, y, seen=None):
    """Coefficients are the numbers themselves."""
    std, y = torch.tensor([std], dtype=F64), torch.tensor([y], dtype=F64)
    seen = torch.ones(std.shape[1:], dtype=torch.bool) if seen is None else torch.tensor(seen)
    same = Spectrum(seen.double(), lambda x: x, lambda c: c, lambda v: v)
    return Coefficients(same, y, std, seen, tuple(std.shape[1:]))


def at(std, y, clean, noise, b, r, seen=None):
    return Place(basis(std, y, seen), *(torch.tensor([v], dtype=F64) for v in (clean, noise)), b, r)


def test_ddnm_steps_have_the_noise_of_the_level_in_every_number():
    b, r, eta = 0.8, 0.5, 0.6
    # nearly exact, noisy, noisier than the step, and not measured
    spot = at([0.0, 0.2, 5.0, 0.0], [1.0] * 4, [0.3] * 4, [0.7] * 4, b, r, [True, True, True, False])
    kernel = weighed_step(spot, eta)
    share = torch.tensor([1.0, 1.0, eta * r / (b * 5.0), 0.0], dtype=F64)
    kept = math.sqrt(1 - eta**2) * r * 0.7
    assert torch.allclose(kernel.mean[0], b * (0.3 + share * 0.7) + kept)
    std = kernel.std.expand(1, 4)[0]
    assert torch.allclose(
        (share * b * torch.tensor([0.0, 0.2, 5.0, 0.0], dtype=F64)).square() + std**2,
        torch.tensor((eta * r) ** 2, dtype=F64),
    )
    last = weighed_step(at([0.0, 0.2], [1.0] * 2, [0.3] * 2, [0.7] * 2, 1.0, 0.0), eta)
    assert torch.allclose(last.mean[0], torch.tensor([1.0, 0.3], dtype=F64)) and float(last.std.abs().max()) == 0


def test_ddrm_has_one_rule_for_each_kind_of_number():
    b, r, eta, eta_b = 0.8, 0.5, 0.6, 0.7
    spot = at([0.2, 2.0, 0.0], [1.0] * 3, [0.3] * 3, [0.7] * 3, b, r, [True, True, False])
    kernel = ruled_step(spot, eta, eta_b)
    kept, sigma = math.sqrt(1 - eta**2), r / b
    by_hand = [0.3 * 0.3 + 0.7 * 1.0, 0.3 + kept * sigma * (1.0 - 0.3) / 2.0, 0.3 + kept * sigma * 0.7]
    assert torch.allclose(kernel.mean[0], b * torch.tensor(by_hand, dtype=F64))
    stds = [math.sqrt(sigma**2 - (eta_b * 0.2) ** 2), eta * sigma, eta * sigma]
    assert torch.allclose(kernel.std.expand(1, 3)[0], b * torch.tensor(stds, dtype=F64))
    seen = torch.tensor([True, True, False])
    first = started(*torch.tensor([[2.0] * 3, [0.3, 9.0, 0.0]], dtype=F64), seen, torch.ones(3, dtype=F64), 0.5, 3.0)
    assert torch.allclose(first, torch.tensor([1 + math.sqrt(1 - 0.05**2), 1.0, 1.0], dtype=F64))


def test_filtering_multiplies_the_two_laws():
    b, r, eta = 0.8, 0.5, 0.6
    spot = at([0.4, 0.0, 0.0], [1.0] * 3, [0.3] * 3, [0.7] * 3, b, r, [True, True, False])
    kernel = product(spot, torch.full((1, 3), -0.2, dtype=F64), eta)
    prior_mean, prior_var = b * 0.3 + math.sqrt(1 - eta**2) * r * 0.7, (eta * r) ** 2
    y, noise = b * 1.0 - 0.2 * r, (b * 0.4) ** 2
    var = 1 / (1 / prior_var + 1 / noise)
    assert torch.allclose(
        kernel.mean[0], torch.tensor([var * (prior_mean / prior_var + y / noise), y, prior_mean]).double()
    )
    assert torch.allclose(kernel.std[0], torch.tensor([math.sqrt(var), 0.0, eta * r]).double(), atol=1e-6)


def test_kernels_draw_what_they_say():
    matrix = normal(2, 3, seed=2)
    spectrum = Dense(matrix).svd
    seen = Coefficients(spectrum, normal(1, 3), torch.zeros(1, 3, dtype=F64), torch.ones(3, dtype=torch.bool), (3,))
    mean, std = normal(1, 3, seed=4).expand(20_000, 3), torch.tensor([[0.5, 0.0, 2.0]], dtype=F64)
    prior = gk.priors.Gaussian(torch.zeros(3, dtype=F64), 1.0)
    people = population(prior, None, rows=20_000)
    drawn = SpectralKernel(mean, std, seen).sample(people.draw(people.setup.steps[0], "test"))
    turn = spectrum.synthesize(torch.eye(3, dtype=F64)).T  # columns of V
    exact = turn @ torch.diag(std[0] ** 2) @ turn.T
    assert (torch.cov(drawn.T) - exact).abs().max() < 5 * 4 * math.sqrt(2 / 20_000)  # five standard errors
    assert (drawn.mean(0) - spectrum.synthesize(mean[:1])[0]).abs().max() < 5 * 2 / math.sqrt(20_000)
    full = SpectralKernel(mean[:4], torch.tensor([[0.5, 1.0, 2.0]], dtype=F64), seen)
    law = torch.distributions.MultivariateNormal(
        spectrum.synthesize(mean[:1])[0], turn @ torch.diag(torch.tensor([0.25, 1.0, 4.0], dtype=F64)) @ turn.T
    )
    assert torch.allclose(full.log_prob(drawn[:4]), law.log_prob(drawn[:4]))


# --- whole runs


@pytest.mark.parametrize("process", PROCESSES[:3])
def test_a_measurement_without_noise_is_met(process):
    prior = gk.priors.Gaussian(torch.zeros(6, dtype=F64), covariance(6), process)
    matrix, y = normal(3, 6, seed=2), normal(4, 3, seed=3)
    likelihood = gk.objectives.GaussianLikelihood(Dense(matrix), y, 0.0)
    for guidance in (G.DDNM(likelihood), G.DDNM(likelihood, 0.5), G.DDRM(likelihood), G.FPS(likelihood)):
        x = gk.sample(prior, guidance, 4, 10).samples
        assert (x @ matrix.T - y).abs().max() < 1e-6
    for guidance in (G.MMPS(likelihood, 3), G.FieldCorrection(likelihood, prior)):
        for sampler in (Ancestral(), DPMSolver(), DPMSolver(eta=1.0), Heun(), DDIM(0.0)):
            x = gk.sample(prior, guidance, 4, 10, sampler=sampler).samples
            assert (x @ matrix.T - y).abs().max() < 1e-6


def test_where_nothing_is_measured_steps_are_those_of_ddim():
    prior = gk.priors.Gaussian(normal(4, seed=1), covariance(4))
    nothing = gk.objectives.GaussianLikelihood(Keep(torch.zeros(4, dtype=torch.bool)), torch.zeros(1, 4), 0.1)
    plain = gk.sample(prior, None, 5, 8, sampler=DDIM(0.0, times="log_snr")).samples
    exactly = gk.objectives.GaussianLikelihood(Keep(torch.zeros(4, dtype=torch.bool)), torch.zeros(1, 4), 0.0)
    for guidance in (G.DDNM(nothing, 0.0), G.DDNM(exactly, 0.0), G.DDRM(nothing, 0.0), G.FPS(nothing, 0.0)):
        found = gk.sample(prior, guidance, 5, 8, sampler=DDIM(0.0, times="log_snr")).samples
        assert torch.allclose(found, plain, atol=1e-9)
    for guidance in (G.MMPS(nothing), G.PiGDM(nothing), G.TMPD(nothing), G.FieldCorrection(nothing, prior)):
        found = gk.sample(prior, guidance, 5, 8, sampler=DDIM(0.0, times="log_snr")).samples
        assert torch.allclose(found, plain, atol=1e-12)


def one_number():
    """N(0, 1) and y = 1 with noise .5: the posterior is N(.8, .447^2)."""
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=F64), 1.0, gk.processes.VP("cosine"))
    return prior, gk.objectives.LinearGaussian(torch.eye(1, dtype=F64), torch.ones(1, dtype=F64), 0.5)


def test_exact_and_biased_laws_of_one_number():
    prior, likelihood = one_number()
    fields = {"num_samples": 4000, "steps": 100}
    for guidance in (G.MMPS(likelihood), G.PiGDM(likelihood)):
        for sampler, std in ((Ancestral(times=WIDE), 0.432), (DPMSolver(times=WIDE), 0.447)):
            x = gk.sample(prior, guidance, sampler=sampler, **fields).samples
            assert abs(float(x.mean()) - 0.8) < 4 * 0.447 / math.sqrt(4000) + 0.005  # and the noise at 80
            assert abs(float(x.std()) - std) < 4 * 0.447 / math.sqrt(8000)
    wide = Ancestral(times=WIDE)
    plus = gk.sample(prior, G.DDNM(likelihood, 0.85), sampler=wide, **fields).samples
    assert float(plus.mean()) > 0.93 and float(plus.std()) < 0.05  # y itself, without spread
    ddrm = gk.sample(prior, G.DDRM(likelihood), sampler=wide, **fields).samples
    assert float(ddrm.mean()) > 0.85 and 0.05 < float(ddrm.std()) < 0.3  # too narrow
    fps = gk.sample(prior, G.FPS(likelihood), sampler=wide, **fields).samples
    assert 0.75 < float(fps.mean()) < 0.9 and 0.25 < float(fps.std()) < 0.42


def test_correlation_tells_the_rest_in_moments_and_not_in_round_guidance():
    """Truth: mean .9, deviation .436. Ancestral steps narrow all of them a little."""
    prior = gk.priors.Gaussian(torch.zeros(2, dtype=F64), torch.tensor([[1, 0.9], [0.9, 1]], dtype=F64), PROCESSES[0])
    known = gk.objectives.LinearGaussian(torch.tensor([[1.0, 0.0]], dtype=F64), torch.ones(1, dtype=F64), 0.0)
    fields = {"num_samples": 4000, "steps": 100, "sampler": Ancestral(times=WIDE)}
    error = 4 * 0.436 / math.sqrt(4000)
    second = {
        name: gk.sample(prior, getattr(G, name)(known), **fields).samples[:, 1] for name in ("MMPS", "PiGDM", "DDNM")
    }
    assert abs(float(second["MMPS"].mean()) - 0.9) < error
    assert abs(float(second["PiGDM"].mean()) - 0.853) < error
    assert float(second["DDNM"].mean()) < 0.87 and float(second["DDNM"].std()) < 0.36


def test_second_order_steps_have_the_spread_of_the_posterior_in_twenty():
    """Exact denoiser or not, ancestral steps lose a quarter of the deviation of what is hardly known."""
    size = 16
    prior = gk.priors.Gaussian(torch.zeros(size, dtype=F64), covariance(size), gk.processes.EDM())
    likelihood = gk.objectives.LinearGaussian(normal(5, size, seed=2), normal(5, seed=3), 0.2)
    exact = prior.posterior(likelihood).covariance().trace().sqrt()

    def ratio(guidance, **sampler):
        x = gk.sample(prior, guidance, 1000, 20, **sampler).samples
        return float(x.var(0).sum().sqrt() / exact)

    for guidance in (G.MMPS(likelihood, 5), G.FieldCorrection(likelihood, prior)):
        assert abs(ratio(guidance) - 1) < 0.05
    # a thousand draws in sixteen dimensions: the standard error is below .01
    assert abs(ratio(guidance, sampler=DPMSolver(times={"name": "karras", "low": 0.02, "high": 20.0})) - 1) < 0.05
    assert ratio(guidance, sampler=Ancestral(times=WIDE)) < 0.9


def test_inside_a_filter_of_the_same_likelihood_the_evidence_is_exact():
    prior, likelihood = one_number()
    for guidance in (G.MMPS(likelihood), G.PiGDM(likelihood, 0.5)):
        steering = G.FKSteering(likelihood, 1.0, particles=16, output="all")
        found = gk.sample(prior, gk.chain(guidance, steering), 1000, 25).log_normalizer.exp()
        error = float(found.std()) / math.sqrt(1000)
        assert abs(float(found.mean() - prior.log_evidence(likelihood).exp())) < 4 * error
        assert float(found.std() / found.mean()) < 0.5


# --- refusals


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda k: (G.MMPS(k.black), {}), "MMPS needs a linear measurement"),
        (lambda k: (G.DDRM(k.bare), {}), "DDRM needs a measurement whose singular values are known"),
        (lambda k: (G.DDNM(k.bare), {}), "DDNM needs a linear measurement with a pseudo-inverse"),
        (lambda k: (G.DDNM(k.inverse), {}), "with noise in the measurement needs its singular values.*give noise=0"),
        (lambda k: (G.DDRM(k.linear), {"sampler": "heun"}), "takes its own steps.*sampler=ancestral"),
        (lambda k: (gk.chain(G.DDNM(k.linear), k.steering), {}), "no weight makes up for"),
        (lambda k: (G.FieldCorrection(k.linear, k.mixture), {}), "needs a Gaussian field.*gaussian mixture is none"),
        (lambda k: (G.FieldCorrection(k.linear, k.other), {}), r"has states \(3,\), and those of this prior"),
    ],
)
def test_refusals(make, says):
    class Known:
        matrix = torch.eye(2)
        linear = gk.objectives.LinearGaussian(matrix, torch.zeros(2), 0.1)
        black = gk.objectives.GaussianLikelihood(lambda x: x, torch.zeros(1, 2), 0.1)
        bare = gk.objectives.GaussianLikelihood(Bare(matrix, (2,)), torch.zeros(1, 2), 0.1)
        steering = G.FKSteering(linear)
        mixture = gk.priors.GaussianMixture(torch.zeros(1, 2), 1.0)
        other = gk.priors.Gaussian(torch.zeros(3), 1.0)

        class Inverse(Bare):
            def pinv(self, y):
                return y

        inverse = gk.objectives.GaussianLikelihood(Inverse(matrix, (2,)), torch.zeros(1, 2), 0.1)

    with pytest.raises(gk.GuidanceError, match=says):
        guidance, options = make(Known)
        gk.sample(gk.priors.Gaussian(torch.zeros(2), 1.0), guidance, 2, 4, **options)


def test_a_density_needs_noise():
    exact = gk.objectives.LinearGaussian(torch.eye(2), torch.zeros(2), 0.0)
    with pytest.raises(ScoreError, match="without noise has no density"):
        exact(torch.zeros(3, 2))
    with pytest.raises(ScoreError, match="noise_std must be at least 0, got -0.1"):
        gk.objectives.LinearGaussian(torch.eye(2), torch.zeros(2), -0.1)
    for make, says in (
        (lambda: G.MMPS(exact, 0), "iterations"),
        (lambda: G.PiGDM(exact, 0.0), "variance"),
        (lambda: G.DDNM(exact, 1.5), "eta"),
    ):
        with pytest.raises(ValueError, match=says):
            make()


# --- C-DPS


def test_a_coupled_step_is_the_product_of_two_gaussians():
    matrix, y, mean = normal(3, 4, seed=1), normal(3, seed=2), normal(4, seed=3)
    g, b, r, std, rows = 0.7, 0.8, 0.5, 0.3, 40000
    seen = Measurement(Dense(matrix), y[None], torch.tensor([std], dtype=F64), (4,))
    kernel = CoupledKernel(GaussianKernel(mean.expand(rows, 4), g), seen, y.expand(rows, 3), b, r, 20)
    x = kernel.sample(population(gk.priors.Gaussian(normal(4), covariance(4)), None, rows).draw(STEP, "test"))
    apart = (b**2 * std**2 + r**2) * torch.eye(3, dtype=F64) + r**2 * matrix @ matrix.T
    precision = torch.eye(4, dtype=F64) / g**2 + matrix.T @ torch.linalg.inv(apart) @ matrix
    law = torch.linalg.inv(precision)
    center = law @ (mean / g**2 + matrix.T @ torch.linalg.inv(apart) @ y)
    error = law.diagonal().max().sqrt() / math.sqrt(rows)
    assert (x.mean(0) - center).abs().max() < 4 * error
    assert (x.T.cov() - law).abs().max() < 6 * law.diagonal().max() / math.sqrt(rows)


def test_the_path_of_a_measurement_is_a_forward_process_read_backwards():
    """Noises of levels 2 and .5, in units of their deviations: correlation .5 / 2, as of a Brownian motion."""
    high, fresh = normal(40000, seed=1), normal(40000, seed=2)
    low = lowered(high, fresh, 0.25)
    assert abs(float(low.var()) - 1) < 4 * math.sqrt(2 / 40000)
    assert abs(float((low * high).mean()) - 0.25) < 4 / math.sqrt(40000)
    assert torch.equal(lowered(high, fresh, 0.0), fresh)


def test_coupled_sampling_has_the_moments_of_its_recursion():
    """x_u and the noise of y_u are linear in x_t, the noise of y_t and fresh noise: their law is followed exactly."""
    prior, likelihood = one_number()
    sampler = Ancestral(times={"name": "karras", "low": 0.02, "high": 20.0})
    setup = prepare(prior, None, sampler=sampler, steps=12, groups=(0, 1), dtype=F64)
    mean, cov = torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64)
    coefficients = prior.process.coefficients
    first = coefficients(setup.steps[0].t)
    cov[0, 0] = first[1] ** 2 if first[0] < 1e-9 else first[0] ** 2 + first[1] ** 2
    for step in setup.steps:
        (a, s), (b, r) = coefficients(step.t), coefficients(step.u)
        ratio = r * a / (b * s)
        slope = b * a / (a * a + s * s) + r * r * a / (b * s * s) * (1 - a * a / (a * a + s * s))
        g2 = r * r * (1 - ratio**2)
        share = g2 / (g2 + b * b * 0.25 + 2 * r * r)
        ahead = torch.tensor([[(1 - share) * slope, share * r * ratio], [0, ratio]], dtype=F64)
        # fresh noise: of the path, which also moves x, and what is left of the step
        both = torch.tensor([share * r, 1.0], dtype=F64) * math.sqrt(1 - ratio**2)
        cov = ahead @ cov @ ahead.T + torch.outer(both, both)
        cov[0, 0] += (1 - share) * g2
        mean = ahead @ mean + torch.tensor([share * b, 0.0], dtype=F64)
    x = gk.sample(prior, G.CDPS(likelihood), 20000, 12, sampler=sampler, dtype=F64).samples
    assert abs(float(x.mean() - mean[0])) < 4 * float(cov[0, 0].sqrt()) / math.sqrt(20000)
    assert abs(float(x.var() / cov[0, 0]) - 1) < 4 * math.sqrt(2 / 20000)


def test_coupled_sampling_without_a_measurement_is_plain_sampling():
    prior = gk.priors.Gaussian(normal(4, seed=1), covariance(4))
    nothing = gk.objectives.GaussianLikelihood(Keep(torch.zeros(4, dtype=torch.bool)), torch.zeros(1, 4), 0.1)
    options = dict(num_samples=5, steps=8, sampler=Ancestral())
    assert torch.equal(gk.sample(prior, G.CDPS(nothing), **options).samples, gk.sample(prior, None, **options).samples)


def test_pseudo_inverse_guidance_does_not_lead_past_the_measurement_where_numbers_are_correlated():
    """64 numbers with correlation .99 and noise .3: a variance of 44 along one direction, where 1 is assumed."""
    place = torch.arange(64)
    prior = gk.priors.Gaussian(torch.zeros(64), 0.99 ** (place[:, None] - place).abs().float(), gk.processes.EDM())
    likelihood = gk.objectives.LinearGaussian(torch.eye(64), torch.ones(64), 0.3)
    x = gk.sample(prior, G.PiGDM(likelihood), 200, 20).samples
    noisy = prior.covariance() + 0.09 * torch.eye(64)
    mean = 1 - 0.09 * torch.linalg.solve(noisy, torch.ones(64, dtype=noisy.dtype))
    std = (0.09 - 0.09**2 * torch.linalg.inv(noisy)).diagonal().sqrt()
    assert float((x.mean(0) - mean).abs().max()) < 0.05  # thousands without
    assert float((x.std(0) / std).mean()) == pytest.approx(1, abs=0.08)
