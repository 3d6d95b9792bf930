"""Feynman-Kac correctors against the laws of Gaussians: four targets on three kinds of process."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.support import Places
from guidekit.guidance.contrast.branches import Branch
from guidekit.guidance.particles import feynman_kac
from guidekit.guidance.particles.path_corrector import PathCorrector
from guidekit.sampling import prepare

g = gk.guidance
PROCESSES = {"ve": gk.processes.EDM(), "vp": gk.processes.VP(), "flow": gk.processes.Flow()}
SQUARE = gk.objectives.Reward(lambda x: -(x[:, 0] - 1).square())
GROUPS, PARTICLES = 30, 400


def priors(process):
    one = gk.priors.Gaussian(torch.zeros(1), 1.0, process)
    return one, gk.priors.Gaussian(torch.tensor([1.5]), 0.7, process)


CASES = {
    # name: (guidance, mean, variance, log of the integral of the target)
    "anneal": (lambda other: g.ScoreProduct(2.0), 0.0, 0.5, -0.5 * math.log(2 * math.pi) - 0.5 * math.log(2)),
    "average": (
        lambda other: PathCorrector((Branch(), Branch(prior=other)), (-2.0, 3.0)),
        2.8125,
        0.4375,
        # N(0, 1)^-2 N(1.5, .7)^3
        -0.5 * (3 * math.log(0.7) - math.log(0.4375)) - 1.5 * 2.25 / 0.7 + 0.5 * 2.8125**2 / 0.4375,
    ),
    "product": (
        lambda other: g.ScoreProduct(other=other),
        1.5 / 1.7,
        0.7 / 1.7,
        -0.5 * math.log(2 * math.pi * 1.7) - 0.5 * 2.25 / 1.7,
    ),
    "tilt": (lambda other: g.ScoreProduct(reward=SQUARE), 2 / 3, 1 / 3, -0.5 * math.log(3) - 1 / 3),
}


def moments(prior, guidance, sampler, steps=200, **options):
    """Mean, variance and log-normalizer of weighted particles, each with its standard error over groups."""
    filtered = g.chain(guidance, g.ParticleFilter(particles=PARTICLES, output="all"))
    found = gk.sample(prior, filtered, GROUPS, steps, 0, sampler, **options)
    x, weights = found.samples.view(GROUPS, PARTICLES).double(), torch.softmax(found.log_weights, 1)
    mean = (weights * x).sum(1)
    variance = (weights * x * x).sum(1) - mean**2
    each = (mean, variance, found.log_normalizer)
    return [(float(one.mean()), float(one.std()) / math.sqrt(GROUPS)) for one in each]


@pytest.mark.parametrize("noise", [1.0, 0.5])
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("case", CASES)
def test_weighted_particles_have_the_law_of_the_target(case, process, noise):
    prior, other = priors(PROCESSES[process])
    make, *exact = CASES[case]
    found = moments(prior, make(other), gk.samplers.EulerMaruyama(noise=noise))
    for (value, error), target, left in zip(found, exact, (0.01, 0.015, 0.04), strict=True):
        assert abs(value - target) < 4 * error + left  # what is left is the error of the steps


@pytest.mark.parametrize("case", ["anneal", "product"])
@pytest.mark.parametrize("process", ["ve", "vp"])
def test_the_score_of_the_target_has_the_same_law_and_more_noise(case, process):
    prior, other = priors(PROCESSES[process])
    power, expert = (2.0, None) if case == "anneal" else (1.0, other)
    made = g.ScoreProduct(power, other=expert, formulation="target_score")
    (mean, error), (variance, spread), _ = moments(prior, made, gk.samplers.EulerMaruyama(), 300)
    _, exact, width, _ = CASES[case]
    assert abs(mean - exact) < 4 * error + 0.01 and abs(variance - width) < 4 * spread + 0.015
    assert error > 2 * moments(prior, CASES[case][0](other), gk.samplers.EulerMaruyama(), 60)[0][1]


def test_two_steps_back_make_coarse_steps_do():
    """The kernel of DPM-Solver++(2M) as an SDE: 40 steps have the error that Euler-Maruyama has with many more."""
    prior, _ = priors(PROCESSES["ve"])
    errors = {}
    for sampler in (gk.samplers.DPMSolver(eta=1.0), gk.samplers.EulerMaruyama()):
        errors[type(sampler)] = abs(moments(prior, g.ScoreProduct(2.0), sampler, 40)[1][0] - 0.5)
    assert errors[gk.samplers.DPMSolver] < 0.03 < 0.045 < errors[gk.samplers.EulerMaruyama]


def test_without_weights_the_law_is_another():
    prior, other = priors(PROCESSES["ve"])
    guidance = CASES["average"][0](other)
    silent = g.chain(guidance, g.ParticleFilter(particles=PARTICLES, ess_threshold=0.0, output="all"))
    x = gk.sample(prior, silent, GROUPS, 100, 0, gk.samplers.EulerMaruyama()).samples
    assert abs(float(x.mean()) - 2.8125) > 0.3


@pytest.mark.parametrize(
    "trivial", [{"power": 1.0}, {"weight": 0.0}, {"weight": 1.0}, {"reward": SQUARE, "gamma": 0.0}]
)
def test_what_one_expert_samples_has_increments_of_exactly_zero(trivial):
    prior = gk.priors.GaussianMixture(torch.tensor([[0.0], [2.0]]), 0.5)
    guidance = g.FeynmanKacCorrector(**trivial, particles=16, output="all")
    result = gk.sample(prior, guidance, 4, 20, condition=1)
    plain = gk.sample(prior, None, 4, 20, condition=None if trivial.get("weight") == 0 else 1, particles=16)
    assert (result.log_weights == 0).all() and (result.log_normalizer == 0).all()
    torch.testing.assert_close(result.samples, plain.samples)


def test_a_tilt_outside_is_a_proposal_and_a_filter_with_a_reward_tilts_the_product():
    """p^2 tilted by a likelihood: its evidence is that of N(0, 1/2), whatever the gradient does inside."""
    prior, _ = priors(PROCESSES["vp"])
    likelihood = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 0.5)
    exact = -0.5 * math.log(4 * math.pi) - 0.5 / 0.75 - 0.5 * math.log(2 * math.pi * 0.75)
    sampler = gk.samplers.DPMSolver(eta=1.0)
    filtered = g.FKSteering(likelihood, 1.0, particles=200, output="all")
    for inside in ((), (g.DPS(likelihood),)):
        found = gk.sample(prior, g.chain(g.ScoreProduct(2.0), *inside, filtered), 30, 100, 0, sampler)
        evidence = found.log_normalizer
        assert abs(float(evidence.mean()) - exact) < 4 * float(evidence.std()) / math.sqrt(30) + 0.05


def test_states_without_a_center_of_mass_have_three_numbers_less():
    x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    support = Places(torch.ones(4, 5, dtype=torch.bool))
    assert float(support.dimensions(x)[0]) == 12
    found = feynman_kac.log_normalizer([2.0], 3.0, support.dimensions(x))
    torch.testing.assert_close(found, torch.full((4,), feynman_kac.log_normalizer([2.0], 3.0, 12), dtype=found.dtype))
    rates = [feynman_kac.rate(1.0, [2.0], [x + shift], None, support) for shift in (0.0, 7.0)]
    torch.testing.assert_close(*rates)


def test_centered_and_clipped_increments():
    given = torch.tensor([1.0, 3.0, -5.0, 5.0], dtype=torch.float64)
    assert feynman_kac.tamed(given, 2, True, None).tolist() == [-1, 1, -5, 5]
    assert feynman_kac.tamed(given, 2, True, 2.0).tolist() == [-1, 1, -2, 2]
    assert feynman_kac.tamed(given, 2, False, None) is given


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"power": 0.0}, "above 0 is needed"),
        ({"power": math.nan}, "finite"),
        ({"formulation": "target"}, "target_score"),
        ({"increment_clip": 0.0}, "above 0"),
        ({"probes": -1}, "at least 0"),
        ({"output": "best"}, "FKSteering"),
        ({"window": [1.0]}, "two times"),
    ],
)
def test_settings_out_of_range_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        g.FeynmanKacCorrector(**settings)


def test_paths_begin_in_the_law_of_the_target():
    for name, process in PROCESSES.items():
        begun = prepare(priors(process)[0], g.FKCAnneal(4.0), 64, particles=64).setup.begin()
        ratio = float(begun.state.var()) / process.coefficients(1.0)[1] ** 2
        assert abs(ratio - 0.25) < 0.02, name


def test_a_product_needs_a_filter_and_both_experts_inside():
    with pytest.raises(gk.GuidanceError, match="particle filter around it"):
        gk.sample(priors(PROCESSES["vp"])[0], g.ScoreProduct(2.0), 2, 4)
    with pytest.raises(gk.GuidanceError, match="chain"):
        gk.sample(
            priors(PROCESSES["vp"])[0], g.chain(g.ScoreProduct(2.0), g.CFG(2.0), g.ParticleFilter()), 2, 4, condition=0
        )


def test_probes_estimate_the_divergence_and_chunks_do_not_matter():
    prior = gk.priors.Gaussian(torch.zeros(3), torch.tensor([1.0, 2.0, 0.5]))
    made = {n: g.FeynmanKacCorrector(2.0, probes=n, particles=8, output="all") for n in (0, 1)}
    exact, estimated = (gk.sample(prior, one, 40, 30, 0).log_normalizer for one in made.values())
    assert abs(float((exact - estimated).mean())) < 4 * float(estimated.std()) / math.sqrt(40) + 1e-3
    torch.testing.assert_close(gk.sample(prior, made[1], 40, 30, 0, batch_size=7).log_normalizer, estimated)
