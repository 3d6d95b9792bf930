"""Chain A: the numbers of discrete guidance known by enumeration."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.step import Moment
from guidekit.guidance.values import Relaxed

N = 40_000
ANCESTRAL = gk.samplers.Ancestral()


def frequencies(tokens):
    return torch.bincount(tokens[:, 0] * 3 + tokens[:, 1], minlength=9).double().view(3, 3) / len(tokens)


def distance(a, b):
    return float((a - b).abs().sum() / 2)


def noise(law, n):
    """Expected total variation between a law and n draws from it."""
    return float((law * (1 - law) * 2 / (math.pi * n)).sqrt().sum() / 2)


def test_sampler_law_and_normalizer(chain_a):
    expected = torch.tensor([[0.267, 0.0675, 0.0655], [0.0465, 0.1725, 0.081], [0.1065, 0.06, 0.1335]])
    torch.testing.assert_close(chain_a.law, expected.double(), atol=1e-7, rtol=0)
    assert chain_a.normalizer == pytest.approx(2.4526914, abs=1e-6)
    tilted = torch.tensor(
        [[0.10886, 0.074809, 0.197327], [0.051535, 0.070331, 0.089771], [0.320845, 0.066497, 0.020024]]
    )
    torch.testing.assert_close(chain_a.tilted, tilted.double(), atol=1e-6, rtol=0)


def test_soft_values(chain_a):
    values = chain_a.prior.soft_values(chain_a.rewards, chain_a.grid)
    middle = values[2].exp()
    assert float(middle[3, 3]) == pytest.approx(2.6982, abs=5e-5)
    assert float(middle[0, 3]) == pytest.approx(2.0134, abs=5e-5)
    assert float(middle[3, 2]) == pytest.approx(2.2932, abs=5e-5)
    assert float(values[0][3, 3].exp()) == pytest.approx(chain_a.normalizer, abs=1e-9)


def test_static_tilt(chain_a):
    law = chain_a.prior.tilted(chain_a.rewards).probabilities
    weights = chain_a.prior.probabilities * chain_a.rewards.exp()
    torch.testing.assert_close(law, weights / weights.sum())
    assert float(chain_a.prior.log_normalizer(chain_a.rewards).exp()) == pytest.approx(2.2071967, abs=1e-6)


def test_ancestral_samples_its_own_law(chain_a):
    result = gk.sample(chain_a.prior, num_samples=N, steps=4, sampler=ANCESTRAL)
    assert distance(frequencies(result.samples), chain_a.law) < 2 * noise(chain_a.law, N)


def test_first_hitting_samples_the_data_law(chain_a):
    data = chain_a.prior.probabilities
    result = gk.sample(chain_a.prior, num_samples=N, sampler=gk.samplers.FirstHitting())
    assert distance(frequencies(result.samples), data) < 2 * noise(data, N)
    assert distance(chain_a.law, data) > 10 * noise(data, N)  # the test can tell the two laws apart
    assert result.ledger.network_rows == 2 * N


@pytest.mark.parametrize(("candidates", "published"), [(1, 0.373), (2, 0.225), (4, 0.126), (16, 0.031), (64, 0.008)])
def test_svdd_total_variation(chain_a, candidates, published):
    guidance = gk.guidance.SVDD(chain_a.reward, candidates, alpha=1.0, value=chain_a.exact_value())
    result = gk.sample(chain_a.prior, guidance, N, steps=4, sampler=ANCESTRAL)
    measured = distance(frequencies(result.samples), chain_a.tilted)
    # The published figures are Monte-Carlo estimates too, with about the same error as ours.
    assert measured == pytest.approx(published, abs=2 * noise(chain_a.tilted, N))


def test_svdd_argmax_follows_the_best_value(chain_a):
    guidance = gk.guidance.SVDD(chain_a.reward, 64, alpha=0.0, value=chain_a.exact_value())
    result = gk.sample(chain_a.prior, guidance, 2000, steps=4, sampler=ANCESTRAL)
    assert chain_a.reward(result.samples).mean() > 1.9  # the best states score 2, the tilted law 1.30


@pytest.mark.parametrize("potential", ["difference", "max", "sum"])
@pytest.mark.parametrize("threshold", [None, 0.5, 0.0])
def test_fk_steering_evidence_is_unbiased(chain_a, potential, threshold):
    runs = 3000
    guidance = gk.guidance.FKSteering(
        chain_a.reward,
        temperature=1.0,
        potential=potential,
        ess_threshold=threshold,
        output="all",
        value=chain_a.expected_reward(),
    )
    result = gk.sample(chain_a.prior, guidance, runs, steps=4, particles=4, sampler=ANCESTRAL)
    z = result.log_normalizer.exp()
    assert abs(float(z.mean()) - 2.45269) < 3 * float(z.std()) / math.sqrt(runs)
    # Weighted estimate of one state, unbiased when multiplied by Z.
    state = (result.samples == torch.tensor([2, 0])).all(1).double().view(runs, 4)
    estimate = (torch.softmax(result.log_weights, 1) * state).sum(1) * z
    exact = chain_a.normalizer * float(chain_a.tilted[2, 0])
    assert abs(float(estimate.mean()) - exact) < 3 * float(estimate.std()) / math.sqrt(runs)


@pytest.mark.parametrize(
    "settings",
    [
        {"tempering": 0.5},
        {"tempering": 0.3, "ess_threshold": None},
        {"islands": 2},
        {"islands": 2, "ess_threshold": None},
        {"islands": 4, "tempering": 0.5, "ess_threshold": 0.9},
        {"interval": [2, 3]},
        {"annealing": 2.0},
    ],
)
def test_evidence_is_unbiased_for_every_policy(chain_a, settings):
    runs = 3000
    guidance = gk.guidance.FKSteering(chain_a.reward, 1.0, output="all", value=chain_a.expected_reward(), **settings)
    result = gk.sample(chain_a.prior, guidance, runs, steps=4, particles=8, sampler=ANCESTRAL)
    z = result.log_normalizer.exp()
    assert abs(float(z.mean()) - chain_a.normalizer) < 3.5 * float(z.std()) / math.sqrt(runs)
    state = (result.samples == torch.tensor([2, 0])).all(1).double().view(runs, 8)
    estimate = (torch.softmax(result.log_weights, 1) * state).sum(1) * z
    exact = chain_a.normalizer * float(chain_a.tilted[2, 0])
    assert abs(float(estimate.mean()) - exact) < 3.5 * float(estimate.std()) / math.sqrt(runs)
    assert float(estimate.std()) / math.sqrt(runs) < 0.03 * exact


def test_nested_filters_are_exact_for_any_number_of_candidates(chain_a):
    runs = 2000
    for candidates in (1, 2, 5):
        guidance = gk.guidance.NestedSMC(chain_a.reward, 1.0, candidates=candidates, particles=4, output="all")
        result = gk.sample(chain_a.prior, guidance, runs, steps=4, sampler=ANCESTRAL)
        z = result.log_normalizer.exp()
        assert abs(float(z.mean()) - chain_a.normalizer) < 3.5 * float(z.std()) / math.sqrt(runs)


@pytest.mark.parametrize("resampler", ["multinomial", "stratified", "systematic", "residual", "ssp"])
@pytest.mark.parametrize("potential", ["difference", "max", "sum"])
def test_fk_steering_reaches_the_tilted_law(chain_a, potential, resampler):
    guidance = gk.guidance.FKSteering(
        chain_a.reward, 1.0, potential, resampler=resampler, value=chain_a.expected_reward(), output="all"
    )
    groups, k = 200, 200
    # The weights of "sum" have heavy tails, so that a group in a thousand may outweigh all others: a seed without one.
    result = gk.sample(chain_a.prior, guidance, groups, steps=4, particles=k, sampler=ANCESTRAL, seed=1)
    weights = torch.softmax(result.log_weights, 1) * result.log_normalizer.exp()[:, None]
    cells = torch.nn.functional.one_hot(result.samples[:, 0] * 3 + result.samples[:, 1], 9).double().view(groups, k, 9)
    estimates = torch.einsum("gk,gkc->gc", weights, cells)  # each group's is unbiased for Z times the tilted law
    exact = chain_a.normalizer * chain_a.tilted.flatten()
    error = estimates.std(0) / math.sqrt(groups)
    assert ((estimates.mean(0) - exact).abs() < 4 * error).all()
    assert error.max() < 0.15 * exact.max()  # tight enough to tell the tilted law from the prior's


def test_fk_steering_single_draw_per_group(chain_a):
    guidance = gk.guidance.FKSteering(chain_a.reward, 1.0, particles=64, value=chain_a.expected_reward())
    result = gk.sample(chain_a.prior, guidance, 4000, steps=4, sampler=ANCESTRAL)
    assert result.samples.shape == (4000, 2)
    # K = 64 leaves a bias of order 1 / K in each draw.
    assert distance(frequencies(result.samples), chain_a.tilted) < 2 * noise(chain_a.tilted, 4000) + 1 / 64


def test_zero_reward_leaves_weights_alone(chain_a):
    flat = gk.objectives.TableReward(torch.zeros(3, 3))
    guidance = gk.guidance.FKSteering(flat, 1.0, particles=4, output="all", ess_threshold=None)
    result = gk.sample(chain_a.prior, guidance, 500, steps=4, sampler=ANCESTRAL)
    assert result.log_weights.abs().max() == 0 and result.log_normalizer.abs().max() == 0


def test_best_of_n_takes_the_best_of_n_base_draws(chain_a):
    n, groups = 8, 4000
    result = gk.sample(chain_a.prior, gk.guidance.BestOfN(chain_a.reward, n), groups, steps=4, sampler=ANCESTRAL)
    order, law = chain_a.rewards.flatten().sort()
    cdf = chain_a.law.flatten()[law].cumsum(0)
    values = order.unique()
    at_most = torch.stack([cdf[order <= v].max() for v in values]) ** n
    exact = float((values * torch.diff(at_most, prepend=torch.zeros(1, dtype=torch.float64))).sum())
    spread = float(chain_a.reward(result.samples).std())
    assert float(chain_a.reward(result.samples).mean()) == pytest.approx(exact, abs=4 * spread / math.sqrt(groups))


def test_uniform_process_recovers_the_law():
    law = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
    chain = gk.priors.CategoricalChain(law, gk.processes.Uniform())
    grid = chain.process.grid(6)
    exact = chain.sampler_law(grid)
    result = gk.sample(chain, num_samples=N, steps=6, sampler=ANCESTRAL)
    assert distance(frequencies(result.samples), exact) < 2 * noise(exact, N)
    fine = chain.sampler_law(chain.process.grid(400))
    assert distance(fine, law) < 0.01 < distance(exact, law)


def test_uniform_posterior_is_bayes():
    chain = gk.priors.CategoricalChain(torch.tensor([0.5, 0.3, 0.2]), gk.processes.Uniform())
    t, u = 0.7, 0.4
    forward_u = chain.process.transition(u, 0.0)  # q(z_u | x_0)
    forward = chain.process.transition(t, u)  # q(z_t | z_u)
    joint = torch.einsum("x,xu,ut->ut", chain.probabilities, forward_u, forward)
    torch.testing.assert_close(chain.kernel_matrix(t, u), (joint / joint.sum(0)).T, atol=1e-14, rtol=0)


def test_masked_posterior_is_bayes():
    chain = gk.priors.CategoricalChain(torch.tensor([0.5, 0.3, 0.2]), gk.processes.Masked())
    t, u = 0.7, 0.4
    start = torch.cat([chain.probabilities, torch.zeros(1)])
    joint = torch.einsum("x,xu,ut->ut", start, chain.process.transition(u, 0.0), chain.process.transition(t, u))
    torch.testing.assert_close(chain.kernel_matrix(t, u), (joint / joint.sum(0)).T, atol=1e-14, rtol=0)


def test_discrete_cfg_sharpens_one_token_exactly():
    null = gk.priors.CategoricalChain(torch.tensor([0.5, 0.5]))
    given = gk.priors.CategoricalChain(torch.tensor([0.8, 0.2]))
    prior = gk.priors.ClassConditional(null, [given])
    result = gk.sample(prior, gk.guidance.CFG(2.0), N, steps=8, condition=0)
    share = float((result.samples == 0).double().mean())
    assert share == pytest.approx(16 / 17, abs=4 * math.sqrt(16 / 17 / 17 / N))


def test_relaxed_value_is_the_mean_reward_under_the_predicted_marginals(chain_a):
    setup = prepare(chain_a.prior, sampler=ANCESTRAL, steps=4, groups=(0, 16))
    population = populate(setup, chain_a.prior.states(), Moment(0.5, 2), 1)
    relaxed = Relaxed(chain_a.reward)
    torch.testing.assert_close(relaxed.value(population), chain_a.expected_reward().value(population))
    clean = population.at(torch.zeros_like(population.state), Moment(0.0, 4))
    assert torch.equal(relaxed.value(clean), chain_a.reward(clean.state))


def test_a_reward_may_suggest_its_temperature(chain_a):
    class Suggesting(gk.objectives.TableReward):
        temperature = 2.0

    suggesting = Suggesting(chain_a.rewards)
    options = dict(num_samples=300, steps=4)
    for kind, name in ((gk.guidance.SVDD, "alpha"), (gk.guidance.FKSteering, "temperature")):
        plain = gk.sample(chain_a.prior, kind(suggesting), **options).samples
        assert torch.equal(gk.sample(chain_a.prior, kind(chain_a.reward, **{name: 2.0}), **options).samples, plain)
        assert not torch.equal(gk.sample(chain_a.prior, kind(chain_a.reward), **options).samples, plain)
