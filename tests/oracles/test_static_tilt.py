"""Resampling by itself: particles that do not move, tilted little by little, have the tilted law at the end."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.random import Draw, KeyedRandom
from guidekit.guidance.particles.islands import exchanged
from guidekit.guidance.particles.resampling import RESAMPLERS, ancestry, effective_sample_size

EVALUATIONS, GROUPS, K = 12, 30, 600


def tilted_mean(strength):
    """E[r exp(strength r)] / E[exp(strength r)] for r uniform on [0, 1]."""
    return 1 / (1 - math.exp(-strength)) - 1 / strength


def log_mean_exp(strength):
    return math.log(math.expm1(strength) / strength)


@pytest.mark.parametrize("strength", [10.0, 20.0, 50.0])
@pytest.mark.parametrize("threshold", [None, 0.5])
@pytest.mark.parametrize("scheme", RESAMPLERS)
def test_static_particles_have_the_tilted_law(scheme, threshold, strength):
    """Weights that are dropped where nothing is resampled, or counted twice, end in another law."""
    generator = torch.Generator().manual_seed(1)
    rewards = torch.rand(GROUPS, K, generator=generator, dtype=torch.float64)
    log_weights, evidence = torch.zeros_like(rewards), torch.zeros(GROUPS, dtype=torch.float64)
    for _ in range(EVALUATIONS):
        log_weights = log_weights + strength / EVALUATIONS * rewards
        fire = torch.ones(GROUPS, dtype=torch.bool)
        if threshold is not None:
            fire = effective_sample_size(log_weights) < threshold * K
        u = torch.rand(GROUPS, K, generator=generator, dtype=torch.float64)
        ancestors, log_weights, added = ancestry(log_weights, fire, RESAMPLERS[scheme], u)
        rewards, evidence = rewards.gather(1, ancestors), evidence + added
    evidence = evidence + torch.logsumexp(log_weights, 1) - math.log(K)
    means = (torch.softmax(log_weights, 1) * rewards).sum(1)
    error = float(means.std()) / math.sqrt(GROUPS)
    # The ratio of two means is off by about the variance of either over K: 1 / (strength K) here.
    assert abs(float(means.mean()) - tilted_mean(strength)) < 4 * error + 1 / K
    z = (evidence - log_mean_exp(strength)).exp()
    assert abs(float(z.mean()) - 1) < 4 * float(z.std()) / math.sqrt(GROUPS)
    assert error < 0.2 / strength  # the law of another strength by a fifth would be seen


@pytest.mark.parametrize("tempering", [1.0, 0.4])
def test_islands_of_static_particles(tempering):
    random = KeyedRandom(0, 0, GROUPS, "cpu")
    rewards = torch.rand(GROUPS, K, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    log_weights, strength = torch.zeros_like(rewards), 20.0
    for number in range(EVALUATIONS):
        log_weights = log_weights + strength / EVALUATIONS * rewards
        ancestors, log_weights = exchanged(
            log_weights,
            10,
            RESAMPLERS["stratified"],
            Draw(random, (number,), "islands"),
            tempering=tempering,
            threshold=0.5,
        )
        rewards = rewards.gather(1, ancestors)
    z = (torch.logsumexp(log_weights, 1) - math.log(K) - log_mean_exp(strength)).exp()
    assert abs(float(z.mean()) - 1) < 4 * float(z.std()) / math.sqrt(GROUPS)
    means = (torch.softmax(log_weights, 1) * rewards).sum(1)
    assert abs(float(means.mean()) - tilted_mean(strength)) < 4 * float(means.std()) / math.sqrt(GROUPS) + 2 / K


def test_the_error_falls_with_the_root_of_the_particles(chain_a):
    spread = []
    for particles, groups in ((4, 3000), (16, 1500), (64, 800)):
        guidance = gk.guidance.FKSteering(chain_a.reward, 1.0, particles=particles, value=chain_a.expected_reward())
        z = gk.sample(chain_a.prior, guidance, groups, 4, sampler=gk.samplers.Ancestral()).log_normalizer.exp()
        spread.append(float(z.std()) * math.sqrt(particles))
    assert max(spread) < 1.2 * min(spread)  # sampling error 1 / sqrt(2 groups): 2 %, and weights of few are skew


def test_targets_are_independent_and_as_one_at_a_time(chain_a):
    guidance = gk.guidance.FKSteering(chain_a.reward, 1.0, particles=8, output="all")
    whole = gk.sample(chain_a.prior, guidance, 6, 4, sampler=gk.samplers.Ancestral())
    single = gk.sample(chain_a.prior, guidance, 6, 4, sampler=gk.samplers.Ancestral(), batch_size=1)
    assert torch.equal(whole.samples, single.samples)
    assert torch.equal(whole.log_weights, single.log_weights)
    assert torch.equal(whole.log_normalizer, single.log_normalizer)


def test_islands_of_different_sizes_are_refused(chain_a):
    guidance = gk.guidance.FKSteering(chain_a.reward, 1.0, particles=8, islands=4)
    with pytest.raises(ValueError, match="6 particles do not divide into 4 islands"):
        gk.sample(chain_a.prior, guidance, 2, 4, particles=6)
