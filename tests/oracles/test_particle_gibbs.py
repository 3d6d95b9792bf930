"""Particle Gibbs leaves the tilted law as it is with two particles, where one filter is far off."""

import math

import pytest
import torch
from scipy.stats import chisquare

import guidekit as gk
from guidekit.guidance.gradient.engine import GradientGuidance
from guidekit.guidance.particles.resampling import RESAMPLERS, conditional
from guidekit.guidance.values import MonteCarlo

N = 4000
ANCESTRAL = gk.samplers.Ancestral()


def fit(samples, law):
    """p-value of tokens (n, 2) as draws of a law (3, 3), and their total variation from it."""
    counts = torch.bincount(samples[:, 0] * 3 + samples[:, 1], minlength=9).double()
    expected = law.flatten() * len(samples)
    return chisquare(counts.numpy(), expected.numpy()).pvalue, float((counts - expected).abs().sum() / 2 / len(samples))


@pytest.mark.parametrize(
    ("particles", "settings"),
    [
        (2, {"sweeps": 16}),
        (2, {"sweeps": 16, "potential": "max"}),
        (4, {"sweeps": 12, "ess_threshold": None}),
        (3, {"sweeps": 20, "ess_threshold": None, "ancestors": True}),
        (3, {"sweeps": 12, "interval": 2, "ancestors": True}),
    ],
)
def test_sweeps_lead_to_the_tilted_law(chain_a, particles, settings):
    gibbs = gk.guidance.ParticleGibbs(chain_a.reward, 1.0, particles=particles, **settings)
    result = gk.sample(chain_a.prior, gibbs, N, 4, sampler=ANCESTRAL)
    chance, distance = fit(result.samples, chain_a.tilted)
    assert chance > 1e-3 and distance < 0.03
    # The evidence is that of the first sweep, without bias.
    z = result.log_normalizer.exp()
    assert abs(float(z.mean()) - chain_a.normalizer) < 4 * float(z.std()) / math.sqrt(N)


def test_one_sweep_of_two_particles_is_far_off(chain_a):
    gibbs = gk.guidance.ParticleGibbs(chain_a.reward, 1.0, sweeps=1, particles=2)
    chance, distance = fit(gk.sample(chain_a.prior, gibbs, N, 4, sampler=ANCESTRAL).samples, chain_a.tilted)
    assert chance < 1e-6 and distance > 0.15  # the test above can tell


def test_inside_may_be_a_search_or_a_sampler_of_its_own_times(chain_a):
    law = chain_a.prior.probabilities * chain_a.rewards.exp()
    gibbs = gk.guidance.ParticleGibbs(chain_a.reward, 1.0, sweeps=16, particles=2)
    result = gk.sample(chain_a.prior, gibbs, N, sampler=gk.samplers.FirstHitting())
    assert fit(result.samples, law / law.sum())[0] > 1e-3
    nested = gk.chain(gk.guidance.SVDD(chain_a.reward, 3, 1.0), gibbs)
    assert fit(gk.sample(chain_a.prior, nested, N, 4, sampler=ANCESTRAL).samples, chain_a.tilted)[0] > 1e-3


@pytest.mark.parametrize("ancestors", [False, True])
def test_gaussian_posterior_with_a_proposal_inside(ancestors):
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    likelihood = gk.objectives.LinearGaussian(torch.eye(1), torch.tensor([1.5]), 0.5)
    gibbs = gk.guidance.ParticleGibbs(likelihood, 1.0, particles=4, sweeps=12, ancestors=ancestors)
    guidance = gk.chain(GradientGuidance(likelihood, 0.3), gibbs)  # a third of the pull that would be exact
    x = gk.sample(prior, guidance, 2000, 20, sampler=ANCESTRAL).samples.double()
    # The sampler's own law is a little narrower than the prior, known by its own draws.
    own = gk.sample(prior, None, 20_000, 20, sampler=ANCESTRAL).samples.double().var().item()
    mean, variance = 1.5 * own / (own + 0.25), 1 / (1 / own + 4)
    assert abs(float(x.mean()) - mean) < 4 * math.sqrt(variance / 2000) + 0.005
    assert abs(float(x.var()) / variance - 1) < 4 * math.sqrt(2 / 2000) + 0.02


def test_results_do_not_depend_on_chunks(chain_a):
    gibbs = gk.guidance.ParticleGibbs(chain_a.reward, 1.0, sweeps=3, ancestors=True)
    whole, parts = (gk.sample(chain_a.prior, gibbs, 7, 4, sampler=ANCESTRAL, batch_size=n) for n in (7, 2))
    assert torch.equal(whole.samples, parts.samples)
    assert torch.equal(whole.log_normalizer, parts.log_normalizer)


def test_the_last_particle_never_loses_its_place():
    torch.manual_seed(0)
    weights = torch.softmax(torch.randn(500, 4).double() * 3, 1)
    ancestors = conditional(weights, torch.rand(500, 4).double())
    assert (ancestors[:, -1] == 3).all()
    assert abs(float((ancestors[:, 0] == 0).double().mean() - weights[:, 0].mean())) < 0.08
    assert conditional not in RESAMPLERS.values()  # a filter without a kept path would be biased by it


def test_what_cannot_be_is_refused(chain_a):
    gibbs, reward = gk.guidance.ParticleGibbs, chain_a.reward
    for bad, said in (({"particles": 1}, "at least 2"), ({"sweeps": 0}, "sweeps must be at least 1")):
        with pytest.raises(ValueError, match=said):
            gibbs(reward, **bad)
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    flat = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 0.5)
    with pytest.raises(gk.GuidanceError, match="goes back on it"):
        gk.sample(prior, gk.chain(gk.guidance.TimeTravel(), gibbs(flat, 1.0)), 1, 4, sampler=ANCESTRAL)
    with pytest.raises(gk.GuidanceError, match="without a memory"):
        gk.sample(prior, gibbs(flat, 1.0, ancestors=True), 1, 4, sampler=gk.samplers.DPMSolver(eta=1.0))
    with pytest.raises(gk.GuidanceError, match="draws its own"):
        gk.sample(chain_a.prior, gibbs(reward, 1.0, value=MonteCarlo(reward, 1.0)), 1, 4, sampler=ANCESTRAL)
    with pytest.raises(gk.GuidanceError, match="remembers or chooses"):
        gk.sample(chain_a.prior, gk.chain(gk.guidance.SVDD(reward, 2), gibbs(reward, ancestors=True)), 1, 4)
