"""Filters for linear measurements against exact posteriors and evidences, and the twists they are made of."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.step import Moment
from guidekit.guidance.particles.covariances import Average, Jacobian, PseudoInverse, covariance_of
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.particles.linear_evidence import evidence, lanczos
from guidekit.guidance.particles.measured import RefreshedStart
from guidekit.guidance.particles.twist import LinearTwist, TwistedKernel
from guidekit.networks import UNet
from guidekit.objectives import GaussianLikelihood
from guidekit.objectives.operators.masks import Keep
from guidekit.objectives.operators.resampling import BlockMean
from guidekit.priors.neural import NeuralGaussian
from guidekit.testing import check_guidance

VP = gk.processes.VP("cosine")
ROUND = gk.priors.Gaussian(torch.tensor([0.5, -0.3]).double(), 1.0, VP)
BENT = gk.priors.Gaussian(torch.tensor([0.5, -0.3]).double(), torch.tensor([[1.0, 0.6], [0.6, 0.8]]).double(), VP)
LIKELIHOOD = gk.objectives.LinearGaussian(torch.tensor([[1.0, 0.5]]).double(), torch.tensor([1.5]).double(), 0.5)
VAGUE = gk.objectives.LinearGaussian(torch.tensor([[1.0, 0.5]]).double(), torch.tensor([1.5]).double(), 1.0)
ALL = {"particles": 16, "output": "all"}


def found(guidance, prior=ROUND, likelihood=LIKELIHOOD, groups=300, **options):
    """Evidence and its standard error, both over the exact one; mean and covariance of the weighted particles."""
    result = gk.sample(prior, guidance, groups, **options)
    weight = torch.softmax(result.log_weights, 1)[..., None]
    x = result.samples.double().view(*weight.shape[:2], -1)
    mean = (weight * x).sum(1).mean(0)
    covariance = torch.einsum("gko,gki,gkj->ij", weight, x - mean, x - mean) / groups
    z = (result.log_normalizer - prior.log_evidence(likelihood)).exp()
    return float(z.mean()), float(z.std()) / math.sqrt(groups), mean, covariance


def close(mean, covariance, prior=ROUND, likelihood=LIKELIHOOD, within=0.1):
    law = prior.posterior(likelihood)
    torch.testing.assert_close(mean, law.mean().double(), atol=within, rtol=0)
    torch.testing.assert_close(covariance, law.covariance().double(), atol=within, rtol=0)


def at(prior, guidance, x, t, **options):
    """A population of one particle a group at states x."""
    setup = prepare(prior, guidance, sampler=gk.samplers.DPMSolver(1.0), steps=4, groups=(0, len(x)), **options)
    return populate(setup, x, Moment(t, 0), 1)


@pytest.mark.parametrize("size", [3, 24])
def test_evidence_is_that_of_a_normal_law(size):
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(size, size, generator=generator).double() / math.sqrt(size)
    matrix, gap = root @ root.T, torch.randn(5, size, generator=generator).double()
    law = torch.distributions.MultivariateNormal(torch.zeros(size).double(), 2 * matrix + 0.3 * torch.eye(size))
    told = evidence(gap, lambda v: v @ matrix, torch.full((1, 1), 0.3).double(), 2.0)
    torch.testing.assert_close(told.solved, torch.linalg.solve(law.covariance_matrix, gap.T).T, atol=1e-7, rtol=1e-6)
    # a log-determinant of one probe is the same for all rows, and close
    gaps = told.value - law.log_prob(gap)
    torch.testing.assert_close(gaps, gaps[:1].expand(5), atol=1e-7, rtol=0)
    assert float(gaps[0].abs()) < (1e-9 if size < 16 else 0.1 * size)
    diagonal = torch.arange(1.0, size + 1).double()
    told = evidence(gap, lambda v: v * diagonal, torch.full((1, 1), 0.3).double())
    exact = torch.distributions.Normal(0.0, (diagonal + 0.3).sqrt()).log_prob(gap).sum(1)
    torch.testing.assert_close(told.value, exact)
    torch.testing.assert_close(told.trace, diagonal.sum().expand(5))


def test_lanczos_knows_when_there_is_no_more():
    values, shares, applied = lanczos(lambda v: 2 * v, torch.ones(2, 20), 6)
    torch.testing.assert_close(applied(1 / (values + 1)), torch.full((2, 20), 1 / 3).double())
    torch.testing.assert_close((shares * values).sum(1), torch.full((2,), 2.0).double())


@pytest.mark.parametrize("t", [0.2, 0.6, 0.9])
def test_the_twist_of_the_jacobian_is_exact_for_gaussians(t):
    a, s = VP.coefficients(t)
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    c, m = BENT.covariances[0], BENT.means[0]
    gain = a * c @ torch.linalg.inv(a * a * c + s * s * torch.eye(2))
    clean, left = m + (x - a * m) @ gain.T, c - a * gain @ c
    over = LIKELIHOOD.a @ left @ LIKELIHOOD.a.T + 0.25
    exact = torch.distributions.Normal(clean @ LIKELIHOOD.a[0], over[0, 0].sqrt()).log_prob(LIKELIHOOD.y[0])
    (slope,) = torch.autograd.grad(exact.sum(), x)
    twist = LinearTwist(LIKELIHOOD, Jacobian())
    population = at(BENT, gk.chain(TwistedKernel(twist), ParticleFilter(estimate=twist, particles=1)), x.detach(), t)
    seen = twist.seen(population)
    torch.testing.assert_close(seen.value, exact.detach())
    torch.testing.assert_close(seen.gradient, slope)
    ledger = population.setup.network.ledger
    assert (ledger.network_calls, ledger.backward_passes) == (1, 1)


@pytest.mark.parametrize("covariance", ["none", "constant", "pseudo_inverse", "jacobian", "average"])
@pytest.mark.parametrize("proposal", ["twisted", "prior"])
def test_the_target_is_exact_whatever_the_covariance(covariance, proposal):
    guidance = gk.guidance.TwistedSMC(VAGUE, covariance, proposal=proposal, **ALL)
    z, error, mean, law = found(guidance, likelihood=VAGUE, steps=25)
    assert abs(z - 1) < 4 * error + 0.03 and error < 0.1
    close(mean, law, likelihood=VAGUE, within=0.12)


def test_a_mixture_whose_components_are_not_of_variance_one():
    means = torch.tensor([[3.0, 0.0], [-3.0, 1.0], [0.0, -4.0]]).double()
    prior = gk.priors.GaussianMixture(means, 0.4, torch.tensor([0.5, 0.3, 0.2]).double(), VP)
    likelihood = gk.objectives.LinearGaussian(torch.tensor([[0.3, 1.0]]).double(), torch.tensor([0.4]).double(), 0.4)
    guidance = gk.guidance.TwistedSMC(likelihood, particles=64, output="all")
    z, error, mean, law = found(guidance, prior, likelihood, 100, steps=30)
    assert abs(z - 1) < 4 * error + 0.1
    close(mean, law, prior, likelihood, 0.6)  # modes are 6 apart
    x = gk.sample(prior, gk.guidance.TwistedSMC(likelihood, particles=16), 400, 30).samples
    near = torch.cdist(x.double(), means).argmin(1)
    exact = prior.posterior(likelihood)
    torch.testing.assert_close(torch.bincount(near, minlength=3) / 400, exact.weights.float(), atol=0.1, rtol=0)
    inside = x[near == 0].double()
    within = gk.priors.Gaussian(means[0], 0.16, VP).posterior(likelihood).covariance()
    torch.testing.assert_close(inside.T.cov(), within.double(), atol=0.04, rtol=0)


def pictures(**options):
    torch.manual_seed(0)
    network = UNet(1, width=8, multipliers=[1], attention=[], heads=2)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    prior = NeuralGaussian(network, gk.processes.EDM(), (1, 8, 8))
    vars(prior).update(options)
    return prior


@pytest.mark.parametrize("kind", ["block means", "mask"])
def test_a_network_is_a_prior(kind):
    """4 numbers are written out, 64 solved by Lanczos; splitting the rows changes nothing."""
    mask = torch.arange(64).view(1, 8, 8) < 32
    likelihood = GaussianLikelihood(BlockMean((1, 8, 8), 4), torch.full((1, 1, 2, 2), 0.5), 0.3)
    if kind == "mask":
        likelihood = GaussianLikelihood(Keep(mask), 0.5 * mask[None], 0.3)
    guidance = gk.guidance.TwistedSMC(likelihood, particles=3)
    check_guidance(pictures(), guidance, steps=4)
    whole, split = (gk.sample(prior, guidance, 2, 4) for prior in (pictures(), pictures(network_batch=4)))
    torch.testing.assert_close(whole.samples, split.samples, atol=1e-3, rtol=1e-3)
    assert split.ledger.backward_passes == 2 * whole.ledger.backward_passes
    assert whole.ledger.backward_passes == 4 * (4 if kind == "block means" else 11)
    many = gk.guidance.TwistedSMC(likelihood, particles=16)
    alone = likelihood.distance(gk.sample(pictures(), None, 8, 12).samples).mean()
    assert likelihood.distance(gk.sample(pictures(), many, 8, 12).samples).mean() < 0.9 * alone


def test_the_gradient_is_that_of_the_value_with_its_covariance_held():
    prior = pictures(dtype=torch.float64)
    prior.network.double()
    likelihood = GaussianLikelihood(BlockMean((1, 8, 8), 4), torch.full((1, 1, 2, 2), 0.5).double(), 0.3)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    clean = prior.predict(x, 0.4).mean
    a, s = prior.process.coefficients(0.4)
    for covariance, passes in ((PseudoInverse(0.5), 1), (Jacobian(), 4)):
        twist = LinearTwist(likelihood, covariance)
        guidance = gk.chain(TwistedKernel(twist), ParticleFilter(estimate=twist, particles=1))
        population = at(prior, guidance, x.detach(), 0.4)
        seen = twist.seen(population)
        assert population.setup.network.ledger.backward_passes == passes
        if passes == 1:
            gap, v = likelihood.residual(clean), 0.5 * s * s / (0.5 * a * a + s * s)
            value = torch.distributions.Normal(0.0, (v / 16 + 0.09) ** 0.5).log_prob(gap).sum(1)
            (slope,) = torch.autograd.grad(value.sum(), x, retain_graph=True)
            torch.testing.assert_close(seen.value, value.detach())
            torch.testing.assert_close(seen.gradient, slope)


def test_one_particle_without_a_tilt_is_the_prior():
    guidance = gk.guidance.TwistedSMC(LIKELIHOOD, "none", proposal="prior", end="mean", particles=1)
    alone = gk.sample(ROUND, None, 5, 6, sampler=guidance.members[0].default_sampler).samples
    assert torch.equal(gk.sample(ROUND, guidance, 5, 6).samples, alone)


def test_outside_its_window_a_twist_leaves_weights_alone():
    """Minus infinity says nothing; a window that no level is in leaves one weighting, at the end."""
    twisted = gk.guidance.TwistedSMC(LIKELIHOOD, window=(1e-6, 0.0), proposal="prior", end="mean", **ALL)
    late = gk.guidance.FKSteering(LIKELIHOOD, 1.0, window=(0.0, 0.0), **ALL)
    given = {"sampler": twisted.members[0].default_sampler, "steps": 8}
    one, other = gk.sample(ROUND, twisted, 4, **given), gk.sample(ROUND, late, 4, **given)
    torch.testing.assert_close(one.log_weights, other.log_weights)
    z, error, mean, law = found(gk.guidance.TwistedSMC(LIKELIHOOD, window=(1.0, 0.3), **ALL), steps=25)
    assert abs(z - 1) < 4 * error + 0.03
    close(mean, law)


def test_groups_without_a_finite_weight_are_told():
    impossible = gk.objectives.Reward(lambda x: torch.full((len(x),), -math.inf))
    guidance = gk.guidance.FKSteering(impossible, 1.0, value=gk.guidance.linear_twist(LIKELIHOOD), **ALL)
    result = gk.sample(ROUND, guidance, 2, 4)
    assert result.log_normalizer.isfinite().all()  # the estimate's own likelihood is the target
    guidance = gk.guidance.FKSteering(impossible, 1.0, particles=4)
    assert gk.sample(ROUND, guidance, 2, 4).ledger.degenerate_groups > 0


def test_the_last_draw_of_a_round_gaussian_is_exact():
    """At t = 1 nothing is known of x_0, so one step of it is all there is."""
    guidance = gk.guidance.TwistedSMC(LIKELIHOOD, "pseudo_inverse", 2.0, particles=4, output="all")
    wide = gk.priors.Gaussian(torch.tensor([0.5, -0.3]).double(), 2.0, VP)
    result = gk.sample(wide, guidance, 3000, 1, sampler=gk.samplers.Ancestral(times=[0.9, 0.0]))
    flat = gk.sample(wide, guidance, 3000, 1, sampler=gk.samplers.Ancestral(times=[1.0, 0.0]))
    torch.testing.assert_close(flat.log_normalizer, wide.log_evidence(LIKELIHOOD).expand(3000), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat.log_weights, flat.log_weights[:, :1].expand(-1, 4), atol=1e-4, rtol=0)
    law = wide.posterior(LIKELIHOOD)
    torch.testing.assert_close(flat.samples.mean(0), law.mean(), atol=0.05, rtol=0)
    torch.testing.assert_close(flat.samples.T.cov(), law.covariance(), atol=0.1, rtol=0)
    assert float(result.log_weights.std()) > 0.1  # where x_t knows of y, weights differ


def test_the_exact_twist_and_kernel_have_constant_weights():
    result = gk.sample(ROUND, gk.guidance.DDSMC(LIKELIHOOD, eta=1.0, **ALL), 4, 10)
    torch.testing.assert_close(result.info["ess"], torch.full((4, 10), 16.0).double(), atol=1e-2, rtol=0)
    exact = ROUND.log_evidence(LIKELIHOOD)
    torch.testing.assert_close(result.log_normalizer, exact.expand(4), atol=1e-3, rtol=0)
    kinds = [gk.guidance.TwistedSMC(LIKELIHOOD, proposal=one, end="mean", **ALL) for one in ("twisted", "prior")]
    twisted, plain = (float(gk.sample(BENT, kind, 20, 150).info["ess"].mean()) / 16 for kind in kinds)
    assert twisted > 0.97 > 0.9 > plain


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddsmc_is_exact_for_the_chain_it_takes(eta):
    z, error, mean, law = found(gk.guidance.DDSMC(LIKELIHOOD, eta, **ALL), steps=12)
    assert abs(z - 1) < 4 * error + 0.01 and error < 0.02
    close(mean, law, within=0.08)


@pytest.mark.parametrize("prior", [ROUND, BENT], ids=["round", "bent"])
def test_mcgdiff_is_exact(prior):
    """With a wide law of the noised measurement, so that weights have a variance."""
    options = {"steps": 40, "sampler": gk.samplers.DPMSolver(1.0)}
    wide = gk.guidance.MCGDiff(VAGUE, 2.0, particles=128, output="all")
    z, error, mean, law = found(wide, prior, VAGUE, 60, **options)
    assert abs(z - 1) < 4 * error + 0.03 and error < 0.1
    close(mean, law, prior, VAGUE, 0.12)
    narrow = found(gk.guidance.MCGDiff(LIKELIHOOD, particles=256, output="all"), prior, groups=30, steps=40)
    close(*narrow[2:], prior, within=0.25)


def test_smcdiff_finds_what_is_not_measured():
    """x_1 is given, x_2 is not: conditional mean and variance, without noise; exactly y where it was measured."""
    given = GaussianLikelihood(Keep(torch.tensor([True, False])), torch.tensor([[1.5, 0.0]]).double(), 0.0)
    x = gk.sample(BENT, gk.guidance.SMCDiff(given, particles=16), 800, 100).samples
    assert torch.allclose(x[:, 0], torch.full((800,), 1.5).double())
    assert float(x[:, 1].mean()) == pytest.approx(-0.3 + 0.6 * 1.0, abs=0.08)
    assert float(x[:, 1].var()) == pytest.approx(0.8 - 0.36, abs=0.08)
    replaced = gk.sample(BENT, gk.guidance.SMCDiff(given, particles=1), 800, 100).samples[:, 1]
    assert float(replaced.mean()) < 0.2  # weights are what makes the difference
    noisy = found(gk.guidance.SMCDiff(LIKELIHOOD, **ALL), BENT, groups=600, steps=100)
    close(*noisy[2:], BENT, within=0.1)


def test_what_was_put_on_its_path_weighs_the_same_in_float32():
    """Rounding is that of a whole state, which is large at much noise, whatever the size of one of its coefficients."""
    generator = torch.Generator().manual_seed(0)
    a, root = (torch.randn(rows, 64, generator=generator).double() / 8 for rows in (16, 64))
    y, covariance = torch.randn(16, generator=generator).double(), root @ root.T + 0.1 * torch.eye(64).double()
    told = []
    for dtype in (torch.float32, torch.float64):
        prior = gk.priors.Gaussian(torch.zeros(64, dtype=dtype), covariance.to(dtype), gk.processes.EDM())
        smc = gk.guidance.SMCDiff(gk.objectives.LinearGaussian(a.to(dtype), y.to(dtype), 0.0), particles=4)
        told.append(gk.sample(prior, smc, 4, 20, dtype=dtype).log_normalizer)
    torch.testing.assert_close(*told, atol=0.05, rtol=0)


def test_fps_smc_finds_what_is_not_measured():
    given = gk.objectives.LinearGaussian(torch.tensor([[1.0, 0.0]]).double(), torch.tensor([1.5]).double(), 0.01)
    x = gk.sample(BENT, gk.guidance.FPSSMC(given, particles=16), 600, 60).samples
    assert float((x[:, 0] - 1.5).abs().mean()) < 0.1  # the last level is .1
    assert float(x[:, 1].mean()) == pytest.approx(0.3, abs=0.1)
    assert 0.25 < float(x[:, 1].var()) < 0.44  # its kernel takes x_0 for known, at every step: too narrow
    alone = gk.sample(BENT, gk.guidance.FPSSMC(given, particles=1), 600, 60).samples[:, 1]
    assert float(alone.mean()) < 0.2  # weights are what makes the difference


def test_every_group_has_its_own_measurement():
    a, y = torch.tensor([[1.0, 0.5]]).double(), torch.tensor([[-2.0], [2.0]]).double()
    exact = [ROUND.posterior(gk.objectives.LinearGaussian(a, one, 0.5)).mean() for one in y]
    likelihood = gk.objectives.LinearGaussian(a, y.repeat_interleave(300, 0), 0.5)
    for make in (gk.guidance.TwistedSMC, gk.guidance.DDSMC, gk.guidance.SMCDiff):
        x = gk.sample(ROUND, make(likelihood, particles=8), 600, 40).samples.view(2, 300, 2)
        torch.testing.assert_close(x.mean(1), torch.stack(exact), atol=0.25, rtol=0)


def test_the_noise_of_one_group_says_nothing_to_another():
    """Its measurement ends at another level: what it weighs by there is its own."""
    a, y, noise = torch.tensor([[1.0, 0.5]]), torch.tensor([[-2.0], [2.0]]), torch.tensor([0.5, 1.5])
    both = gk.objectives.LinearGaussian(a.double(), y.double(), noise.double())
    for make in (
        gk.guidance.TwistedSMC,
        gk.guidance.MCGDiff,
        gk.guidance.SMCDiff,
        gk.guidance.FPSSMC,
        gk.guidance.DDSMC,
    ):
        whole, parts = (gk.sample(ROUND, make(both, **ALL), 2, 30, batch_size=size) for size in (2, 1))
        torch.testing.assert_close(whole.log_normalizer, parts.log_normalizer, atol=1e-9, rtol=0)
        torch.testing.assert_close(whole.samples, parts.samples, atol=1e-9, rtol=0)


def test_an_average_covariance_is_made_once_and_counted():
    average = Average(50)
    guidance = gk.guidance.TwistedSMC(LIKELIHOOD, average, proposal="prior", particles=4)
    ledger = gk.sample(ROUND, guidance, 3, 5).ledger
    assert ledger.network_rows == 5 * 12 + (20 + 5) * 50 and ledger.backward_passes == 0
    chunks = gk.sample(ROUND, guidance, 3, 5, batch_size=1).ledger
    assert chunks.network_rows == ledger.network_rows
    many = Average(4000)
    twist = LinearTwist(LIKELIHOOD, many)
    twist.seen(at(ROUND, ParticleFilter(estimate=twist, particles=1), torch.zeros(1, 2).double(), 0.5))
    (_, levels, table) = next(iter(many.known.values()))
    exact = 1.25 / (1 + (-2 * levels).exp())  # (a A)^2 s^2 / (a^2 + s^2) for a covariance of one
    torch.testing.assert_close(table[:, 0, 0], exact, rtol=0.12, atol=0)


def test_an_average_covariance_is_that_of_the_measurement_it_is_asked_for():
    class Stays(gk.priors.Gaussian):
        """As the base of priors has it."""

        def to(self, device):
            return self

    prior = Stays(torch.tensor([0.5, -0.3]).double(), 1.0, VP)
    wide = gk.objectives.LinearGaussian(torch.tensor([[4.0, -2.0]]).double(), torch.tensor([1.5]).double(), 0.5)
    average = Average(50)
    for likelihood in (LIKELIHOOD, wide):
        shared, own = (
            gk.sample(prior, gk.guidance.TwistedSMC(likelihood, each, proposal="prior", particles=4), 3, 5)
            for each in (average, Average(50))
        )
        assert torch.equal(shared.log_normalizer, own.log_normalizer)


def test_a_refreshed_start_has_the_law_of_the_first_time():
    prior = gk.priors.Gaussian(torch.full((4,), 30.0).double(), 1.0, gk.processes.VP("linear", beta_max=8.0))
    a, s = prior.process.coefficients(1.0)
    setup = prepare(prior, RefreshedStart(2), sampler=gk.samplers.Ancestral(), steps=3, groups=(0, 2000))
    x = setup.begin().state
    torch.testing.assert_close(x.mean(0), torch.full((4,), 30.0 * a).double(), atol=0.1, rtol=0)
    assert float(x.var()) == pytest.approx(s * s, rel=0.1)
    assert setup.network.ledger.network_calls == 2


def test_what_cannot_work_is_refused():
    for bad, said in (
        ({"covariance": "diagonal"}, "no covariance named 'diagonal'"),
        ({"variance": 0.0}, "variance must be above 0"),
        ({"proposal": "tilted"}, "no proposal named 'tilted'"),
        ({"end": "drawn"}, "did you mean 'draw'"),
        ({"refreshes": -1}, "refreshes must be at least 0"),
        ({"window": (0.0, 1.0)}, "two noise levels, the larger first"),
    ):
        with pytest.raises(ValueError, match=said):
            gk.guidance.TwistedSMC(LIKELIHOOD, **bad)
    certain = gk.objectives.LinearGaussian(torch.eye(2), torch.zeros(2), 0.0)
    for make in (gk.guidance.TwistedSMC, gk.guidance.MCGDiff, gk.guidance.FPSSMC, gk.guidance.DDSMC):
        with pytest.raises(ValueError, match="noise"):
            make(certain)
    with pytest.raises(gk.GuidanceError, match="a sampler that draws noise"):
        gk.sample(ROUND, gk.guidance.TwistedSMC(LIKELIHOOD), sampler="heun")
    with pytest.raises(gk.GuidanceError, match="a linear measurement"):
        gk.sample(ROUND, gk.guidance.TwistedSMC(GaussianLikelihood(lambda x: x**2, torch.zeros(1, 2), 0.5)))
    with pytest.raises(gk.GuidanceError, match="a particle filter around it"):
        gk.sample(ROUND, TwistedKernel(LinearTwist(LIKELIHOOD, covariance_of("none"))))
    assert covariance_of(Jacobian(3)).iterations == 3
