"""The particle filter and searches against exact evidences and laws, and the parts they are made of one by one."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.step import Moment
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.particles.potentials import POTENTIALS
from guidekit.guidance.particles.resampling import RESAMPLERS, effective_sample_size
from guidekit.guidance.values import MonteCarlo, PosteriorMean, estimate_of
from guidekit.objectives.reward import objective_of

VP = gk.processes.VP("cosine")
NORMAL = gk.priors.Gaussian(torch.zeros(1), 1.0, VP)
LIKELIHOOD = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 0.5)
EVIDENCE = math.exp(-0.5 / 1.25) / math.sqrt(2 * math.pi * 1.25)


def evidence(guidance, prior=NORMAL, groups=400, **options):
    """Estimate of the evidence and its standard error over groups."""
    found = gk.sample(prior, guidance, groups, **options).log_normalizer.exp()
    return float(found.mean()), float(found.std()) / math.sqrt(groups)


INNER = {
    "nothing": None,
    "dps": gk.guidance.DPS(LIKELIHOOD),
    "gradient": gk.guidance.GradientGuidance(LIKELIHOOD, 0.7),
    "search": gk.guidance.SVDD(LIKELIHOOD, 3, alpha=1.0),
}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("interval", [1, 3])
def test_evidence_is_exact_whatever_is_inside(inner, interval):
    """DPS inside a filter once counted the likelihood twice: .879 in place of .239."""
    filtered = gk.guidance.FKSteering(LIKELIHOOD, 1.0, particles=16, interval=interval, output="all")
    found, error = evidence(gk.chain(INNER[inner], filtered), steps=40)
    assert abs(found - EVIDENCE) < 4 * error + 0.01 * EVIDENCE  # one per cent for the steps
    assert error < 0.1 * EVIDENCE


@pytest.mark.parametrize("potential", POTENTIALS)
def test_evidence_is_exact_for_every_potential_in_a_window(potential):
    """Over all steps the weights of "max" and "sum" vary too much here; Chain A has them all."""
    window = (0.6, 0.2)
    guidance = gk.guidance.FKSteering(LIKELIHOOD, 1.0, potential, particles=16, window=window, output="all")
    found, error = evidence(guidance, steps=40)
    assert abs(found - EVIDENCE) < 4 * error + 0.01 * EVIDENCE


def test_more_than_one_part_is_weighed_by_all():
    prior = gk.priors.Gaussian(torch.zeros(3), 1.0, VP)
    likelihood = gk.objectives.LinearGaussian(torch.ones(1, 3), torch.tensor([2.0]), 1.0)
    exact = float(prior.log_evidence(likelihood).exp())
    twisted = gk.chain(gk.guidance.DPS(likelihood), gk.guidance.FKSteering(likelihood, 1.0, particles=32, output="all"))
    found, error = evidence(twisted, prior, steps=40)
    assert abs(found - exact) < 4 * error + 0.01 * exact


def test_potentials():
    value = torch.tensor([1.0, 3.0, -math.inf])
    total, history = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([2.0, 2.0, -math.inf])
    step, _ = POTENTIALS["difference"](value, total, history)
    assert step.tolist() == [0.5, 2.5, 0.0]
    step, seen = POTENTIALS["max"](value, total, history)
    assert step.tolist() == [2.0, 3.0, 0.0] and seen.tolist() == [2.0, 3.0, -math.inf]
    step, seen = POTENTIALS["sum"](value, total, history)
    assert step.tolist() == [3.0, 5.0, 0.0] and seen.tolist() == [3.0, 5.0, -math.inf]


@pytest.mark.parametrize(("window", "times"), [((1.0, 0.0), 9), ((0.5, 0.0), 5), ((0.5, 0.3), 3), ((1.0, 0.7), 3)])
def test_window_and_interval_say_when_particles_are_weighed(window, times):
    guidance = gk.guidance.FKSteering(LIKELIHOOD, 1.0, window=window, particles=4)
    info = gk.sample(NORMAL, guidance, 2, 10).info
    assert info["ess"].shape[1] == times + 1  # and at the end
    every = gk.guidance.FKSteering(LIKELIHOOD, 1.0, interval=4, particles=4)
    assert gk.sample(NORMAL, every, 2, 10).info["ess"].shape[1] == 3  # after steps 4, 8 and the last


def test_effective_sample_size():
    w = torch.tensor([[0.7, 0.2, 0.1], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]).double()
    expected = w.sum(1) ** 2 / w.square().sum(1)
    torch.testing.assert_close(effective_sample_size(w.log()), expected)
    assert float(effective_sample_size(torch.full((1, 3), -math.inf).double())[0]) == 0


def test_resampling_schemes_are_told_apart():
    weights, u = torch.full((1, 2), 0.5).double(), torch.tensor([[0.95, 0.15]]).double()
    skewed = torch.tensor([[0.55, 0.45]]).double()
    assert RESAMPLERS["systematic"](skewed, u).tolist() == [[0, 1]]  # .475, .975
    assert RESAMPLERS["stratified"](torch.tensor([[0.6, 0.4]]).double(), u).tolist() == [[0, 0]]  # .475, .575
    assert RESAMPLERS["systematic"](torch.tensor([[0.6, 0.4]]).double(), u).tolist() == [[0, 1]]  # .475, .975
    assert RESAMPLERS["multinomial"](weights, u).tolist() == [[1, 0]]


def test_filters_refuse_what_cannot_be():
    for bad, said in (
        ({"particles": 0}, "particles must be at least 1, got 0"),
        ({"interval": 0}, "interval must be at least 1"),
        ({"temperature": 0.0}, "temperature must be a number above 0, got 0.0"),
        ({"temperature": math.nan}, "temperature must be a number above 0"),
        ({"potential": "mean"}, "no potential named 'mean'"),
        ({"resampler": "systemic"}, "did you mean 'systematic'"),
        ({"output": "most"}, "no output named 'most'"),
        ({"ess_threshold": 2.0}, "ess_threshold must be a share"),
        ({"window": (0.0, 1.0)}, "window must be two times"),
        ({"interval": [0, 3]}, "interval must name steps from 1"),
        ({"interval": []}, "interval must name steps from 1"),
        ({"tempering": 0.0}, "tempering must be a power above 0"),
        ({"annealing": -1.0}, "annealing must be a power of at least 0"),
        ({"particles": 6, "islands": 4}, "6 particles do not divide into 4 islands"),
        ({"islands": 0}, "islands must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            gk.guidance.FKSteering(LIKELIHOOD, **bad)
    with pytest.raises(ValueError, match="particles must be at least 1"):
        gk.guidance.BestOfN(LIKELIHOOD, 0)
    with pytest.raises(gk.GuidanceError, match="take SVDD with alpha > 0"):
        pair = gk.chain(gk.guidance.SVDD(LIKELIHOOD, 3, alpha=0.0), gk.guidance.FKSteering(LIKELIHOOD))
        gk.sample(NORMAL, pair)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_a_search_among_many_samples_the_law_of_its_temperature(chain_a, alpha):
    n = 3000
    law = chain_a.law * (chain_a.rewards / alpha).exp()
    tables = dict(zip(chain_a.grid, chain_a.prior.soft_values(chain_a.rewards, chain_a.grid, alpha), strict=True))

    class Exact(PosteriorMean):
        def value(self, population):
            return tables[population.moment.t][tuple(population.state.unbind(1))]

    guidance = gk.guidance.SVDD(chain_a.reward, 64, alpha, Exact(chain_a.reward, alpha))
    z = gk.sample(chain_a.prior, guidance, n, 4, sampler=gk.samplers.Ancestral()).samples
    found = torch.zeros(3, 3, dtype=torch.float64).index_put_(tuple(z.T), torch.ones(n).double() / n, accumulate=True)
    assert float((found - law / law.sum()).abs().sum() / 2) < 0.04  # Monte Carlo .02, 64 candidates .008
    # and by the shipped estimate with its alpha: rewards count as reward / alpha in nats
    (estimate,) = gk.guidance.SVDD(chain_a.reward, 4, alpha).judge.estimates
    setup = prepare(chain_a.prior, sampler=gk.samplers.Ancestral(), steps=4, groups=(0, 1))
    clean = populate(setup, torch.tensor([[0, 2]]), Moment(0.0, 4), 1)
    assert float(estimate.value(clean)) == pytest.approx(2.0 / alpha)


def test_monte_carlo_value_is_the_mean_of_exponentials():
    chain = gk.priors.CategoricalChain(torch.tensor([0.25, 0.75]))
    reward = gk.objectives.TableReward(torch.tensor([1.0, 0.0]))
    setup = prepare(chain, gk.guidance.BestOfN(reward), sampler=gk.samplers.Ancestral(), steps=2, groups=(0, 20_000))
    population = populate(setup, torch.full((20_000, 1), 2), Moment(1.0, 0), 1)
    exact = 0.25 * math.exp(2.0) + 0.75
    for draws in (1, 4):
        value = MonteCarlo(reward, 0.5, draws).value(population).exp()
        assert float(value.mean()) == pytest.approx(exact, abs=4 * float(value.std()) / math.sqrt(20_000))


def test_a_scale_is_looked_up_where_the_step_starts():
    asked = []

    def scale(t):
        asked.append(t)
        return 0.0

    gk.sample(NORMAL, gk.guidance.GradientGuidance(LIKELIHOOD, scale), 2, 4)
    assert asked == [1.0, 0.75, 0.5, 0.25]


def test_what_a_guidance_obeys_is_checked():
    for wrong, said in (
        (None, "give reward="),
        (3, "got 3"),
        (gk.objectives.QuadraticReward, "the class QuadraticReward"),
    ):
        with pytest.raises(gk.GuidanceError, match=said):
            gk.guidance.BestOfN(wrong)
    with pytest.raises(gk.GuidanceError, match="looks at clean ones"):
        estimate_of("SVDD", LIKELIHOOD, LIKELIHOOD)
    assert objective_of(LIKELIHOOD, "x") is LIKELIHOOD
    with pytest.raises(gk.GuidanceError, match="is a black box: search instead, with SVDD"):
        gk.sample(NORMAL, gk.guidance.DPS(gk.objectives.Reward(lambda x: x[:, 0], differentiable=False)))


def test_without_an_estimate_only_changed_kernels_weigh():
    tilt = gk.guidance.GradientGuidance(LIKELIHOOD, 0.2)
    result = gk.sample(NORMAL, gk.chain(tilt, ParticleFilter(particles=64, output="all")), 300, 40)
    weight = torch.softmax(result.log_weights, 1)
    mean = (weight * result.samples.view(300, 64)).sum(1)
    assert float(result.samples.mean()) > 0.1  # the proposal is not
    assert abs(float(mean.mean())) < 4 * float(mean.std()) / math.sqrt(300) + 0.02  # the prior again
    assert float(result.log_normalizer.exp().mean()) == pytest.approx(1.0, abs=0.1)
