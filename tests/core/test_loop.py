"""The loop: keyed randomness, populations, chunks, composition, caches, regressions of published bugs."""

import dataclasses

import pytest
import torch

import guidekit as gk
from guidekit.core.random import KeyedRandom
from guidekit.core.kernels import CategoricalKernel
from guidekit.core.population import Population
from guidekit.core.state import rows_differ, cat, take, put, repeat, where


@dataclasses.dataclass(frozen=True)
class Molecule3D:
    positions: torch.Tensor
    types: torch.Tensor
    unit: str = "Angstrom"


def batch(n=4):
    return Molecule3D(torch.arange(n * 6.0).view(n, 3, 2), torch.arange(n * 3).view(n, 3))


def test_composite_states_move_as_one():
    x = batch()
    picked = take(x, torch.tensor([2, 0]))
    assert torch.equal(picked.positions, x.positions[[2, 0]]) and torch.equal(picked.types, x.types[[2, 0]])
    assert picked.unit == "Angstrom" and picked.types.dtype == torch.int64
    assert repeat(x, 3).types.shape == (12, 3)
    assert torch.equal(cat([x, picked]).types[4:], picked.types)
    changed = put(x, torch.tensor([1]), take(x, torch.tensor([3])))
    assert rows_differ(x, changed).tolist() == [False, True, False, False]
    assert torch.equal(where(torch.tensor([False, True, False, False]), x, changed).types, x.types)


@pytest.mark.parametrize("shape", [(2,), (3, 40), (5, 300)])  # joined over 16 steps, over 2, alone
def test_draws_depend_on_group_and_step_only(shape):
    everything = KeyedRandom(7, 0, 200)
    for step in (0, 1, 17):
        whole = everything.draw("normal", step, "move", shape, torch.float32)
        for first, groups in ((0, 1), (63, 2), (100, 100)):
            part = KeyedRandom(7, first, groups).draw("normal", step, "move", shape, torch.float32)
            assert torch.equal(part, whole[first : first + groups])


def test_draws_of_other_steps_purposes_and_seeds_are_independent():
    draws = [
        KeyedRandom(seed, 0, 64).draw("normal", step, purpose, (100,), torch.float32).flatten()
        for seed, step, purpose in ((0, 0, "a"), (0, 1, "a"), (0, 16, "a"), (0, 0, "b"), (1, 0, "a"))
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
    assert correlation.abs().max() < 5 / 6400**0.5


def run_of(prior, groups=3, particles=4):
    from guidekit.core.run import Run

    return Run(prior, gk.samplers.Ancestral(), None, 4, (0, groups), particles)


def test_select_carries_everything_that_belongs_to_a_particle(chain_a):
    law = chain_a.prior.probabilities
    run = run_of(gk.priors.CategoricalChain(law, conditionals=torch.stack([law] * 12)))
    state = torch.randint(0, 3, (12, 2), generator=torch.Generator().manual_seed(0))
    population = Population(run, 3, 4, state, torch.arange(12)).remember(score=torch.arange(12.0))
    population = population.weighted(torch.arange(12.0, dtype=torch.float64).view(3, 4))
    population.predict(0.5)
    chosen = torch.tensor([[3, 3, 0], [1, 2, 2], [0, 0, 0]])
    rows = (torch.arange(3)[:, None] * 4 + chosen).flatten()
    after = population.select(chosen)
    assert (after.groups, after.particles) == (3, 3)
    for name, value in (("state", state), ("condition", torch.arange(12))):
        assert torch.equal(getattr(after, name), value[rows])
    assert torch.equal(after.memory["score"], torch.arange(12.0)[rows])
    assert torch.equal(after.log_weights.flatten(), torch.arange(12.0, dtype=torch.float64)[rows])
    calls = run.ledger.network_rows
    assert torch.equal(after.predict(0.5).z, state[rows]) and run.ledger.network_rows == calls  # the answer came along
    expanded = population.expand(2)
    assert torch.equal(expanded.state, state.repeat_interleave(2, 0)) and expanded.particles == 8


def test_only_changed_rows_are_asked_again(chain_a):
    run = run_of(chain_a.prior)
    population = Population(run, 3, 4, torch.full((12, 2), 3))
    population.predict(1.0)
    state = population.state.clone()
    state[5] = torch.tensor([2, 3])
    moved = population.advance(state)
    prediction = moved.predict(0.75)
    assert run.ledger.network_rows == 13 and run.ledger.cached_rows == 11
    torch.testing.assert_close(prediction.log_probs, chain_a.prior.predict(state, 0.75).log_probs)


def test_time_dependent_priors_are_asked_at_every_time():
    prior = gk.priors.CategoricalChain(torch.tensor([0.5, 0.3, 0.2]), gk.processes.Uniform())
    run = run_of(prior)
    population = Population(run, 3, 4, torch.zeros(12, 1, dtype=torch.long))
    assert not torch.equal(population.predict(0.9).log_probs, population.predict(0.3).log_probs)
    assert run.ledger.network_rows == 24


def test_last_partial_batch_is_sampled():
    """Released code leaves the last N % batch samples at zero."""
    prior = gk.priors.Gaussian(torch.full((2,), 50.0), 0.01)
    x = gk.sample(prior, num_samples=10, steps=50, batch_size=4).samples
    assert x.shape == (10, 2) and (x > 40).all()


def test_groups_do_not_share_a_particle_filter():
    """Released code resamples over the whole batch: one lucky group then fills all the others."""
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    reward = lambda x: 50.0 * x[:, 0]  # noqa: E731
    guidance = gk.guidance.FKSteering(reward, 1.0, particles=4, ess_threshold=None, output="all")
    x = gk.sample(prior, guidance, 50, 30).samples.view(50, 4)
    assert len(x.unique()) > 50
    assert len(x[:, 0].unique()) == 50


def test_candidates_are_scored_at_the_time_they_live_at(chain_a):
    """Released code scores a candidate for u with the network at t."""
    asked = []

    def value(population, t):
        asked.append(t)
        return torch.zeros(len(population), dtype=torch.float64)

    guidance = gk.guidance.SVDD(chain_a.reward, 3, value=value)
    gk.sample(chain_a.prior, guidance, 50, 4, sampler=gk.samplers.Ancestral())
    assert asked == [0.75, 0.5, 0.25, 0.0]


def test_winner_keeps_its_network_answer():
    """A step costs M rows a sample, not M + 1."""
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0)
    reward = gk.objectives.QuadraticReward(torch.ones(2))
    ledger = gk.sample(prior, gk.guidance.SVDD(reward, 5), 7, 10).ledger
    assert ledger.network_rows == 7 * (1 + 9 * 5)  # the last step needs no network: its states are clean
    assert ledger.network_calls == 10


def test_network_batch_caps_a_call():
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0)
    reward = gk.objectives.QuadraticReward(torch.ones(2))
    whole = gk.sample(prior, gk.guidance.SVDD(reward, 5), 7, 10)
    prior.network_batch = 8
    capped = gk.sample(prior, gk.guidance.SVDD(reward, 5), 7, 10)
    torch.testing.assert_close(capped.samples, whole.samples)
    assert capped.ledger.network_rows == whole.ledger.network_rows and capped.ledger.network_calls == 1 + 9 * 5


def test_chain_order_is_inside_out():
    order = []

    class Note(gk.Guidance):
        def __init__(self, name):
            self.name = name

        def denoise(self, inner, x, t, condition):
            order.append(self.name)
            return inner(x, t, condition)

    prior = gk.priors.Gaussian(torch.zeros(1), 1.0)
    gk.sample(prior, gk.chain(Note("inside"), gk.chain(Note("middle"), Note("outside"))), 1, 1)
    assert order == ["outside", "middle", "inside"]


def test_search_outside_a_particle_filter_is_refused(chain_a):
    plugs = gk.chain(gk.guidance.FKSteering(chain_a.reward), gk.guidance.SVDD(chain_a.reward))
    with pytest.raises(gk.GuidanceError, match="inside the particle filter"):
        gk.sample(chain_a.prior, plugs)


def test_dps_looks_through_cfg_and_refuses_to_be_inside_it():
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.7)
    likelihood = gk.objectives.LinearGaussian(torch.ones(1, 1), torch.ones(1), 0.5)
    cfg, dps = gk.guidance.CFG(2.0), gk.guidance.DPS(likelihood, 0.3)
    result = gk.sample(prior, gk.chain(cfg, dps), 4, 10, condition=0)
    assert (result.ledger.backward_passes, result.ledger.network_calls) == (10, 10)
    assert not torch.allclose(result.samples, gk.sample(prior, dps, 4, 10, condition=0).samples)
    with pytest.raises(gk.GuidanceError, match=r"chain\(CFG, gradient\)"):
        gk.sample(prior, gk.chain(dps, cfg), 4, 10, condition=0)


def test_deterministic_samplers_refuse_resampling():
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0)
    guidance = gk.guidance.FKSteering(gk.objectives.QuadraticReward(torch.ones(1)))
    for sampler in (gk.samplers.DDIM(), gk.samplers.Euler(), gk.samplers.Heun()):
        with pytest.raises(gk.GuidanceError, match="stochastic"):
            gk.sample(prior, guidance, sampler=sampler)
    gk.sample(prior, guidance, steps=3, sampler=gk.samplers.DDIM(0.5))


@pytest.mark.parametrize("bad", [{"num_samples": 0}, {"steps": 0}, {"batch_size": 0}])
def test_sizes_below_one_are_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}=0"):
        gk.sample(gk.priors.Gaussian(torch.zeros(1), 1.0), **bad)


def test_condition_on_an_unconditional_prior_is_refused(chain_a):
    with pytest.raises(gk.GuidanceError, match="made without conditions"):
        gk.sample(chain_a.prior, condition=1)


def test_unmasking_kernels_are_what_they_say(chain_a):
    z = torch.tensor([[3, 3], [0, 3], [3, 1]])
    prediction = chain_a.prior.predict(z, 0.5)
    kernel = chain_a.prior.process.reverse_kernel(prediction, 0.5, 0.25)
    table = kernel.categorical()
    assert isinstance(table, CategoricalKernel)
    torch.testing.assert_close(table.log_probs.exp().sum(-1), torch.ones(3, 2, dtype=torch.float64))
    every = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    for row in range(3):
        one = gk.processes.Masked(3).reverse_kernel(take(prediction, torch.tensor([row] * 16)), 0.5, 0.25)
        assert float(one.log_prob(every).exp().sum()) == pytest.approx(1.0)
    chosen = chain_a.prior.process.first_hitting(
        take(prediction, torch.tensor([0] * 16)), 1, 0.5, run_of(chain_a.prior, 16, 1).draw("x")
    )
    probability = chosen.log_prob(every).exp()
    assert float(probability.sum()) == pytest.approx(1.0)
    assert (probability[(every == 3).sum(1) != 1] == 0).all()
    assert (chosen.time < 0.5).all()


def test_first_hitting_times_are_those_of_the_process():
    """With n masked tokens at t = 1 the first is revealed at u with P(u < x) = x^n."""
    chain = gk.priors.CategoricalChain(torch.ones(2, 2, 2))
    run = run_of(chain, 4000, 1)
    prediction = chain.predict(torch.full((4000, 3), 2), 1.0)
    times = chain.process.first_hitting(prediction, 1, torch.ones(4000), run.draw("x")).time
    assert float((times**3).mean()) == pytest.approx(0.5, abs=4 * (1 / 12 / 4000) ** 0.5)
    last = chain.process.first_hitting(prediction, 3, torch.ones(4000), run.draw("x")).time
    assert float((1 - (1 - last) ** 3).mean()) == pytest.approx(0.5, abs=4 * (1 / 12 / 4000) ** 0.5)


def test_two_plugs_of_one_kind_draw_independently(chain_a):
    from guidekit.core.run import Run

    plugs = [gk.guidance.SVDD(chain_a.reward, 2), gk.guidance.SVDD(chain_a.reward, 2)]
    run = Run(chain_a.prior, gk.samplers.Ancestral(), gk.chain(*plugs), 4, (0, 64))
    first, second = (run.draw("choose", plug).uniform((64,)) for plug in plugs)
    assert not torch.equal(first, second)
    assert torch.equal(first, run.draw("choose", plugs[0]).uniform((64,)))


def test_joined_branches_keep_each_row_with_its_own_time_and_condition():
    """Released code tiles times against interleaved states."""
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.7)
    run = run_of(prior)
    x, t, condition = torch.tensor([[0.1], [0.9], [-0.5]]), torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0, 1, 0])
    null, given = run.denoise.branches(x, t, [None, condition])
    for i in range(3):
        rows = slice(i, i + 1)
        torch.testing.assert_close(null.mean[rows], prior.predict(x[rows], t[rows]).mean)
        torch.testing.assert_close(given.mean[rows], prior.predict(x[rows], t[rows], condition[rows]).mean)
    assert run.ledger.network_calls == 1


def test_extreme_rewards_do_not_overflow_the_weights(chain_a):
    """Released code keeps weights in linear space and clamps them: all large rewards then look alike."""
    reward = gk.objectives.TableReward(chain_a.rewards * 1e4)
    guidance = gk.guidance.FKSteering(reward, 1.0, particles=64, ess_threshold=0.0, output="all")
    result = gk.sample(chain_a.prior, guidance, 50, 4, sampler=gk.samplers.Ancestral())
    assert result.log_normalizer.isfinite().all() and not result.log_weights.isnan().any()
    best = torch.softmax(result.log_weights, 1).flatten() @ reward(result.samples) / 50
    assert float(best) == pytest.approx(2e4)  # each group has a best state, and its weight tells it from 1e4


def test_each_sample_may_have_its_own_measurement():
    """Released operators read batch element 0 only."""
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0, gk.processes.VP("cosine"))
    y = torch.tensor([[-2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    likelihood = gk.objectives.LinearGaussian(torch.eye(2), y, 0.1)
    x = gk.sample(prior, gk.guidance.DPS(likelihood, 0.3), 3, 200).samples
    assert ((x - y).norm(dim=1) < 0.6).all()


def test_a_group_without_hope_falls_back_to_a_uniform_draw_and_is_counted(chain_a):
    nothing = gk.objectives.TableReward(torch.full((3, 3), -torch.inf))
    result = gk.sample(chain_a.prior, gk.guidance.FKSteering(nothing, 1.0, particles=4), 20, 4)
    assert result.ledger.degenerate_groups == 20 and result.log_normalizer.isneginf().all()
    found = gk.sample(chain_a.prior, gk.guidance.SVDD(nothing, 4), 20, 4)
    assert found.ledger.degenerate_groups == 40 and (found.samples < 3).all()  # two tokens, two choices a sample
