"""Search over the noise of whole runs."""

import dataclasses
import itertools
import math

import pytest
import torch

import guidekit as gk

g = gk.guidance
GAUSSIAN = gk.priors.Gaussian(torch.zeros(4), 1.0, gk.processes.VP("cosine"))
NEAR = gk.objectives.QuadraticReward(torch.ones(4))


def test_one_run_is_the_sampler():
    plain = gk.sample(GAUSSIAN, num_samples=30, steps=6, sampler="ddim").samples
    found = gk.sample(GAUSSIAN, g.NoiseSearch(NEAR, 1, 1), 30, 6, sampler="ddim").samples
    assert torch.equal(found, plain)


def test_one_round_is_best_of_n_bit_for_bit(chain_a):
    for prior, reward in ((GAUSSIAN, NEAR), (chain_a.prior, chain_a.reward)):
        options = dict(num_samples=40, steps=4, sampler="ancestral")
        best = gk.sample(prior, g.BestOfN(reward, 5), **options).samples
        assert torch.equal(gk.sample(prior, g.NoiseSearch(reward, 5, 1, reach=1), **options).samples, best)


@pytest.mark.parametrize("reach", [0.4, 1.0])
@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_never_worse_than_what_was_tried(reach, sampler):
    """Round after round, and the sample is the best of them; also where the sampler draws noise of its own."""
    result = gk.sample(GAUSSIAN, g.NoiseSearch(NEAR, 3, 5, reach), 50, 6, sampler=sampler)
    trace = result.info["best reward"]
    assert trace.shape == (50, 5) and (trace.diff(dim=1) >= 0).all() and (trace.diff(dim=1) > 0).any()
    torch.testing.assert_close(NEAR(result.samples).double(), trace[:, -1])
    first = gk.sample(GAUSSIAN, g.NoiseSearch(NEAR, 3, 1, reach), 50, 6, sampler=sampler)
    torch.testing.assert_close(NEAR(first.samples).double(), trace[:, 0])


def test_it_comes_to_the_optimum():
    """The flow of a Gaussian is linear, so small steps climb a quadratic to its top; fresh noise stays behind."""
    found = {
        reach: float(NEAR(gk.sample(GAUSSIAN, g.NoiseSearch(NEAR, 4, 30, reach), 40, 4).samples).mean())
        for reach in (0.3, 1.0)
    }
    assert found[0.3] > -0.1 > found[1.0]


def test_neighbors_have_the_law_of_noise():
    search = g.NoiseSearch(NEAR, 1, 2, reach=0.6)
    setup = gk.sampling.prepare(GAUSSIAN, search, 4000, 4).setup
    population = setup.begin()
    noise = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    near = search.near(population, noise, 7)
    assert float(near.square().mean()) == pytest.approx(1, abs=0.03)
    assert float((near * noise).mean()) == pytest.approx(0.8, abs=0.03)
    assert torch.equal(search.near(population, noise, 7), near) and not torch.equal(
        search.near(population, noise, 8), near
    )


def test_calls_are_counted():
    """Rounds times neighbors times the steps of a run; what guides a run is counted with it."""
    plain = gk.sample(GAUSSIAN, num_samples=10, steps=6, sampler="ddim").ledger.network_rows
    search = gk.sample(GAUSSIAN, g.NoiseSearch(NEAR, 3, 4), 10, 6)
    assert search.ledger.network_rows == 12 * plain
    assert search.ledger.reward_calls == 10 * 12


def test_every_step_of_every_round_is_told():
    """Progress counts the steps of all rounds, and starts at the noise again with each."""
    told = []
    gk.sample(GAUSSIAN, g.NoiseSearch(NEAR, 3, 4), 5, 6, progress=told.append)
    assert [one.step for one in told] == list(range(1, 25)) and {one.steps for one in told} == {24}
    assert [one.population.moment.t for one in told].count(0.0) == 4
    assert [one.population.setup.visits[one.step - 1].start.index for one in told] == 4 * list(range(6))


def test_rounds_start_what_is_inside_anew():
    """The last draw of DAPS is none before its first: a round is as a run from its noise alone."""
    inside = g.DAPS(gk.objectives.LinearGaussian(torch.eye(4)[:1], torch.ones(1), 0.5))
    search, told = g.NoiseSearch(NEAR, 2, 2), []
    options = dict(num_samples=3, steps=4, sampler="ancestral")
    gk.sample(GAUSSIAN, g.chain(inside, search), progress=lambda one: told.append(one.population), **options)
    alone = gk.sampling.prepare(GAUSSIAN, inside, particles=2, **options).setup
    fresh = gk.core.loop.populate(alone, told[4].recall(search).begun, alone.steps[0].start, 2)
    expected = alone.move(inside.start(fresh), told[4].setup.visits[4])
    torch.testing.assert_close(expected.state, told[4].state)
    torch.testing.assert_close(expected.recall(inside), told[4].recall(inside))


def test_rounds_end_with_what_is_inside():
    """What stands inside has the last word on the runs of every round before they are judged."""

    @dataclasses.dataclass(frozen=True, eq=False)
    class Whole(g.Guidance):
        def finish(self, population):
            return population.at(population.state.round())

    trace = gk.sample(GAUSSIAN, g.chain(Whole(), g.NoiseSearch(NEAR, 3, 3)), 20, 4).info["best reward"]
    assert trace.shape == (20, 3) and torch.equal(2 * trace, (2 * trace).round())


def test_guided_runs_are_searched():
    inside = g.DPS(gk.objectives.LinearGaussian(torch.eye(4)[:1], torch.ones(1), 0.5))
    plain, guided = (
        gk.sample(GAUSSIAN, g.chain(one, g.NoiseSearch(lambda x: -x[:, 1].abs(), 3, 3)), 60, 8).samples
        for one in (None, inside)
    )
    assert guided[:, 0].mean() > plain[:, 0].mean() + 0.3
    assert guided[:, 1].abs().mean() < 0.3


def test_any_chunking_gives_the_same(chain_a):
    for prior, guidance in (
        (GAUSSIAN, g.NoiseSearch(NEAR, 3, 3)),
        (chain_a.prior, g.NoiseSearch(chain_a.reward, 3, 3, reach=1)),
    ):
        whole, parts = (gk.sample(prior, guidance, 70, 4, batch_size=size).samples for size in (None, 11))
        torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_searched_is_refused(chain_a):
    for settings, said in (
        ({"neighbors": 0}, "neighbors must be at least 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"reach": 0.0}, "reach must be above 0"),
        ({"reach": math.nan}, "reach must be above 0"),
    ):
        with pytest.raises(ValueError, match=said):
            g.NoiseSearch(NEAR, **settings)
    for guidance, said in (
        (g.chain(g.BestOfN(NEAR), g.NoiseSearch(NEAR)), "leave out BestOfN"),
        (g.chain(g.FKSteering(NEAR), g.NoiseSearch(NEAR)), "leave out FKSteering"),
        (g.chain(g.TreeSearch(NEAR), g.NoiseSearch(NEAR)), "leave out TreeSearch"),
        (g.chain(g.BoostAndSkip(), g.NoiseSearch(NEAR)), "leave out BoostAndSkip"),
    ):
        with pytest.raises(gk.GuidanceError, match=said):
            gk.sample(GAUSSIAN, guidance, 2, steps=3, sampler="ancestral")
    with pytest.raises(gk.GuidanceError, match="take reach=1"):
        gk.sample(chain_a.prior, g.NoiseSearch(chain_a.reward), 2)


def test_more_rounds_are_no_worse():
    found = [gk.sample(GAUSSIAN, g.NoiseSearch(NEAR, 3, rounds), 30, 5).samples for rounds in (1, 2, 4)]
    assert all((NEAR(b) >= NEAR(a) - 1e-6).all() for a, b in itertools.pairwise(found))
