"""Weighted samples as one population: groups pooled by their evidence, and back to the prior."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.weighting import Weighted

ANCESTRAL = gk.samplers.Ancestral()


def shares(weighted):
    cells = torch.zeros(9, dtype=torch.float64)
    return cells.index_add_(0, weighted.states[:, 0] * 3 + weighted.states[:, 1], weighted.log_weights.exp()).view(3, 3)


@pytest.mark.parametrize("output", ["all", "draw"])
def test_groups_of_two_are_as_good_as_one_of_many(chain_a, output):
    guidance = gk.guidance.FKSteering(chain_a.reward, 1.0, particles=2, output=output, value=chain_a.expected_reward())
    result = gk.sample(chain_a.prior, guidance, 12_000, 4, sampler=ANCESTRAL)
    pooled, back = gk.pooled(result), gk.to_prior(result)
    error = 1 / math.sqrt(pooled.ess)
    assert float((shares(pooled) - chain_a.tilted).abs().sum() / 2) < 1.5 * error
    assert float((shares(back) - chain_a.law).abs().sum() / 2) < 1.5 / math.sqrt(back.ess)
    alike = Weighted(result.samples, torch.full_like(pooled.log_weights, -math.log(len(pooled.log_weights))))
    assert float((shares(alike) - chain_a.tilted).abs().sum() / 2) > 5 * error  # without their evidence they are not
    mean, error = back.mean(chain_a.reward(result.samples))
    assert abs(float(mean) - float((chain_a.law * chain_a.rewards).sum())) < 4 * float(error)
    drawn = pooled.samples(4000)
    assert abs(float(chain_a.reward(drawn).mean()) - float((chain_a.tilted * chain_a.rewards).sum())) < 0.08


def test_what_has_no_reward_has_no_weight_on_the_way_back(chain_a):
    """Back to the prior given that there is a reward: one of nine states has none."""
    table = chain_a.rewards.clone()
    table[0, 0] = -math.inf
    reward = gk.objectives.TableReward(table)
    guidance = gk.guidance.FKSteering(reward, 1.0, particles=8, output="all")
    back = gk.to_prior(gk.sample(chain_a.prior, guidance, 3_000, 4, sampler=ANCESTRAL))
    assert back.remark == "" and not back.log_weights.isnan().any()
    law = chain_a.law.clone()
    law[0, 0] = 0
    assert float((shares(back) - law / law.sum()).abs().sum() / 2) < 1.5 / math.sqrt(back.ess)


def test_moved_kernels_are_made_up_for():
    """Importance sampling: what a gradient has pulled is weighted back to N(0, 1), as the sampler draws it."""
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    likelihood = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 1.0)
    guidance = gk.chain(gk.guidance.DPS(likelihood), ParticleFilter(ess_threshold=0.0, output="all", particles=50))
    result = gk.sample(prior, guidance, 200, 20, sampler=ANCESTRAL)
    assert float(result.samples.mean()) > 0.3
    own = float(gk.sample(prior, None, 20_000, 20, sampler=ANCESTRAL).samples.double().var())
    back = gk.to_prior(result)
    mean, error = back.mean(result.samples[:, 0])
    assert abs(float(mean)) < 4 * float(error) + 0.01 and float(error) < 0.1
    square, error = back.mean(result.samples[:, 0] ** 2)
    assert abs(float(square) - own) < 4 * float(error) + 0.02


def test_what_cannot_be_trusted_or_weighted_is_said(chain_a):
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    far = gk.objectives.LinearGaussian(torch.eye(1), torch.full((1,), 4.0), 0.3)
    back = gk.to_prior(gk.sample(prior, gk.guidance.FKSteering(far, 1.0, particles=64), 50, 20))
    assert "50 samples count as" in back.remark
    warm = gk.guidance.FKSteering(chain_a.reward, 5.0, particles=4)
    assert gk.to_prior(gk.sample(chain_a.prior, warm, 50, 4, sampler=ANCESTRAL)).remark == ""
    for guidance in (None, gk.guidance.FKSteering(chain_a.reward, 1.0, output="best")):
        with pytest.raises(ValueError, match="carry no weights"):
            gk.pooled(gk.sample(chain_a.prior, guidance, 2, 4, sampler=ANCESTRAL))
    none = Weighted(torch.zeros(2, 1), torch.full((2,), -math.inf).double())
    with pytest.raises(ValueError, match="nothing to draw from"):
        none.samples(1)
    assert none.ess == 0


def test_sweeps_of_particle_gibbs_count_alike(chain_a):
    result = gk.sample(chain_a.prior, gk.guidance.ParticleGibbs(chain_a.reward, 1.0, sweeps=2), 20, 4)
    assert torch.allclose(gk.pooled(result).log_weights, torch.tensor(-math.log(20)).double())
    assert result.log_normalizer.std() > 0
