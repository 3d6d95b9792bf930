"""Searches among candidates: SCG, path-integral control with ensembles, trees, paths."""

import itertools
import math

import pytest
import torch

import guidekit as gk
from guidekit.guidance.candidates.judges import Pieces
from guidekit.guidance.candidates.votes import VOTES, added, consensus, standardized

g = gk.guidance
GAUSSIAN = gk.priors.Gaussian(torch.zeros(4), 1.0, gk.processes.VP("cosine"))
NEAR = gk.objectives.QuadraticReward(torch.ones(4))
OPTIONS = dict(num_samples=400, steps=8)


def near(x):
    return -(x - 1).square().sum(1)


def mean(guidance, reward=NEAR, prior=GAUSSIAN, **options):
    return float(reward(gk.sample(prior, guidance, **{**OPTIONS, **options}).samples).double().mean())


SEARCHES = {
    "control": lambda r, n: g.StochasticControlGuidance(r, n, window=(1.0, 0.0)),
    "pieces": lambda r, n: g.StochasticControlGuidance(near, n, pieces=2),
    "sum": lambda r, n: g.PathIntegralGuidance(r, n),
    "normalized": lambda r, n: g.PathIntegralGuidance(r + r, n, "normalized"),
    "consensus": lambda r, n: g.PathIntegralGuidance(r + r, n, "consensus"),
    "drawn": lambda r, n: g.PathIntegralGuidance(r, n, temperature=0.3),
    "tree": lambda r, n: g.TreeSearch(r, 1, n),
    "path": lambda r, n: g.PathSearch(r, 1, n, interval=1),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_one_candidate_is_the_sampler_bit_for_bit(name, chain_a):
    plain = gk.sample(GAUSSIAN, **OPTIONS).samples
    assert torch.equal(gk.sample(GAUSSIAN, SEARCHES[name](NEAR, 1), **OPTIONS).samples, plain)
    if name != "pieces":
        options = dict(num_samples=50, steps=4, sampler="ancestral")
        plain = gk.sample(chain_a.prior, **options).samples
        assert torch.equal(gk.sample(chain_a.prior, SEARCHES[name](chain_a.reward, 1), **options).samples, plain)


@pytest.mark.parametrize("name", SEARCHES)
def test_reward_grows_with_the_candidates(name):
    found = [mean(SEARCHES[name](NEAR, n)) for n in (1, 2, 4, 16)]
    assert all(b > a for a, b in itertools.pairwise(found)), found


def test_best_of_two_noises_by_hand():
    """The better of two draws of a normal number lies std / sqrt(pi) above the mean."""
    prior, n = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine")), 20_000
    plain = gk.sample(prior, None, n, 2).samples  # the first of two steps draws, the last one has no noise
    guidance = g.StochasticControlGuidance(lambda x: x[:, 0].double(), 2, window=(1.0, 0.0))
    x = gk.sample(prior, guidance, n, 2).samples
    assert float(plain.std()) == pytest.approx(0.5, abs=0.02)
    assert float(x.mean()) == pytest.approx(0.5 / math.sqrt(math.pi), abs=4 * 0.5 / math.sqrt(n))


@pytest.mark.parametrize("pieces", [1, 2])
def test_the_winner_serves_the_next_step(pieces):
    """M rows a step, and one more where the next state was put together of several candidates."""
    guidance = g.StochasticControlGuidance(near, 5, window=(1.0, 0.0), pieces=pieces)
    ledger = gk.sample(GAUSSIAN, guidance, 10, steps=8).ledger
    # Asked about the start, then about 5 candidates of each step but the last, at which the state is clean.
    assert ledger.network_rows == 10 * (1 + 7 * 5 + 7 * (pieces - 1))
    assert ledger.network_calls == 8 + 7 * (pieces - 1)  # the candidates of a step are one call


def test_nothing_is_chosen_outside_the_window():
    base = gk.sample(GAUSSIAN, num_samples=10, steps=8).ledger.network_rows
    rows = gk.sample(GAUSSIAN, g.StochasticControlGuidance(NEAR, 5, window=(0.5, 0.2)), 10, steps=8).ledger.network_rows
    times = [step.u for step in gk.sampling.prepare(GAUSSIAN, steps=8).setup.steps]
    assert rows == base + 10 * 4 * sum(0.2 <= u <= 0.5 for u in times)


@pytest.mark.parametrize("name", [*SEARCHES, "dsearch"])
def test_any_chunking_gives_the_same(name, chain_a):
    make = {**SEARCHES, "dsearch": lambda r, n: g.TreeSearch(r, [4, 2], [1, n])}[name]
    priors = [(GAUSSIAN, NEAR)] if name == "pieces" else [(GAUSSIAN, NEAR), (chain_a.prior, chain_a.reward)]
    for prior, reward in priors:
        whole = gk.sample(prior, make(reward, 3), 70, 4, sampler="ancestral")
        parts = gk.sample(prior, make(reward, 3), 70, 4, sampler="ancestral", batch_size=9)
        torch.testing.assert_close(whole.samples, parts.samples, rtol=1e-5, atol=1e-5)
        assert whole.ledger.network_rows == parts.ledger.network_rows


def test_votes_by_hand():
    values = torch.tensor([[[1.0, 2.0, 4.0]], [[300.0, 100.0, 200.0]]]).double()
    assert torch.equal(added(values), torch.tensor([[301.0, 102.0, 204.0]]).double())
    assert torch.equal(consensus(values), torch.tensor([[0.5 + 2.5, 1.5 + 0.5, 2.5 + 1.5]]).double())
    z = (values - values.mean(-1, keepdim=True)) / values.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(standardized(values), z.sum(0))


@pytest.mark.parametrize("vote", VOTES.values())
def test_what_one_reward_rejects_loses(vote):
    values = torch.tensor([[9.0, 1.0, 2.0], [-math.inf, 5.0, 4.0]]).double()
    votes = vote(values)
    assert votes.isneginf().tolist() == [True, False, False]
    torch.testing.assert_close(vote(values.roll(1, 1)).roll(-1), votes)
    hopeless = vote(torch.full((2, 3), -math.inf).double())
    assert hopeless.isneginf().all()


def test_a_reward_that_tells_nothing_apart_has_no_say():
    values = torch.tensor([[1.0, 3.0, 2.0], [0.1 + 0.2, 0.3, 0.3]]).double()
    assert standardized(values).argsort().tolist() == [0, 2, 1]


@pytest.mark.parametrize("combine", ["normalized", "consensus"])
@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_the_scale_of_a_reward_does_not_matter_to_votes(combine, temperature, chain_a):
    """Multiplied by 1,000, by its weight or by itself, or moved, a reward has the say that it had."""
    one, other = (gk.objectives.Reward(lambda x, i=i: x[:, i].double()) for i in (0, 1))
    louder = gk.objectives.Reward(lambda x: 1000 * x[:, 1].double() + 7)

    def drawn(reward, combine=combine):
        guidance = g.PathIntegralGuidance(reward, 6, combine, temperature)
        return gk.sample(GAUSSIAN, guidance, 60, 6).samples

    same = drawn(one + other)
    assert torch.equal(drawn(one + 1000 * other), same)
    assert torch.equal(drawn(one + louder), same)
    assert not torch.equal(drawn(one - other), same)
    assert not torch.equal(drawn(one + louder, "sum"), drawn(one + other, "sum"))


def test_an_ensemble_pleases_both_where_a_sum_pleases_one():
    """With units that differ by 1,000 a sum forgets one reward, votes do not."""
    small = gk.objectives.Reward(lambda x: 0.001 * x[:, 0].double())
    large = gk.objectives.Reward(lambda x: x[:, 1].double())
    found = {
        combine: gk.sample(GAUSSIAN, g.PathIntegralGuidance(small + large, 16, combine), 300, 8).samples.mean(0)
        for combine in VOTES
    }
    assert found["sum"][0] < 0.3 < 0.7 < found["sum"][1]
    for combine in ("normalized", "consensus"):
        assert found[combine][:2].min() > 0.6


def test_rewards_are_black_boxes():
    """No gradient is asked for: a reward that refuses one is enough."""

    class Forbidden(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return -x.square().sum(1)

        @staticmethod
        def backward(context, gradient):
            raise AssertionError("a gradient was taken")

    for make in SEARCHES.values():
        result = gk.sample(GAUSSIAN, make(gk.objectives.Reward(Forbidden.apply), 3), 4, steps=4)
        assert result.ledger.backward_passes == 0


def test_pieces_are_cut_and_put_together():
    judge = Pieces(gk.objectives.Reward(near), 3, axis=-2)
    states = torch.arange(2 * 4 * 6 * 5.0).view(2, 4, 6, 5)
    cut = judge.cut(states)
    assert cut.shape == (2, 3, 4, 2, 5) and torch.equal(cut[:, 1], states[:, :, 2:4])
    assert torch.equal(judge.join(cut), states)


def test_every_piece_is_the_best_of_its_own(chain_a):
    """With pieces of independent numbers n candidates a piece are worth more than n of the whole."""
    whole = g.StochasticControlGuidance(NEAR, 8, window=(1.0, 0.0))
    pieces = g.StochasticControlGuidance(near, 8, window=(1.0, 0.0), pieces=4)
    assert mean(pieces) > mean(whole) / 2
    # of tokens as well
    reward = gk.objectives.Reward(lambda z: (z == 2).double().mean(1))
    parted = g.StochasticControlGuidance(reward, 4, window=(1.0, 0.0), pieces=2)
    x = gk.sample(chain_a.prior, parted, 300, 4, sampler="ancestral").samples
    assert reward(x).mean() > 0.5 > reward(gk.sample(chain_a.prior, None, 300, 4, sampler="ancestral").samples).mean()


def test_a_tree_wide_enough_finds_the_best_state(chain_a):
    """With the exact value and a beam that covers all states of two tokens, every sample is one of the best."""
    wide = g.TreeSearch(chain_a.reward, 16, 16, value=chain_a.exact_value())
    x = gk.sample(chain_a.prior, wide, 200, 4, sampler="ancestral").samples
    assert (chain_a.reward(x) == chain_a.rewards.max()).all()
    narrow = gk.sample(chain_a.prior, g.TreeSearch(chain_a.reward, 1, 1), 200, 4, sampler="ancestral").samples
    assert torch.equal(narrow, gk.sample(chain_a.prior, None, 200, 4, sampler="ancestral").samples)


def test_the_beam_is_the_best_of_an_exhaustive_search(chain_a):
    """All A M children are ranked by hand, copies last: what the beam keeps is no worse at any place."""
    seen = []
    value = chain_a.exact_value()

    class Spied(type(value)):
        def value(self, population):
            found = super().value(population)
            seen.append((population.state.clone(), found.clone(), population.groups))
            return found

    spied = Spied(value.reward, value.function)
    kept = []
    gk.sample(
        chain_a.prior,
        g.TreeSearch(chain_a.reward, 3, 4, value=spied),
        20,
        4,
        sampler="ancestral",
        progress=lambda told: kept.append(told.population.state.view(20, -1, 2).tolist()),
    )
    for (states, values, groups), beam in zip(seen[:3], kept[:3], strict=True):
        for group in range(groups):
            rows = states.view(groups, -1, 2)[group].tolist()
            worth = dict(zip(map(tuple, rows), values.view(groups, -1)[group].tolist(), strict=True))
            best = sorted(worth.values(), reverse=True)
            found = [worth[tuple(row)] for row in beam[group]]
            distinct = min(len(worth), len(found))
            assert found[:distinct] == best[:distinct]
            assert len({tuple(row) for row in beam[group]}) == distinct


def test_widths_follow_their_schedule():
    shapes = []
    guidance = g.TreeSearch(NEAR, [6, 3, 1], [1, 2], output="all")
    result = gk.sample(GAUSSIAN, guidance, 5, steps=6, progress=lambda told: shapes.append(told.population.particles))
    assert shapes == [6, 6, 3, 3, 1, 1] and len(result.samples) == 5
    widths = gk.sample(GAUSSIAN, g.TreeSearch(NEAR, 3, 2, output="all"), 5, steps=6)
    assert len(widths.samples) == 15
    groups = NEAR(widths.samples).view(5, 3)
    best = gk.sample(GAUSSIAN, g.TreeSearch(NEAR, 3, 2), 5, steps=6)
    torch.testing.assert_close(NEAR(best.samples), groups.max(1).values)


def test_paths_are_searched_by_samplers_without_noise():
    options = dict(sampler="heun")
    assert mean(g.PathSearch(NEAR, 2, 4, interval=1), **options) > mean(None, **options) + 1
    with pytest.raises(gk.GuidanceError, match="a sampler that draws noise"):
        gk.sample(GAUSSIAN, g.TreeSearch(NEAR), sampler="heun")


def test_what_cannot_be_searched_is_refused(chain_a):
    for make, said in (
        (lambda: g.TreeSearch(NEAR, 0), "width must be at least 1"),
        (lambda: g.TreeSearch(NEAR, []), "width must be at least 1, or a list"),
        (lambda: g.TreeSearch(NEAR, 2, [2, 0]), "candidates must be at least 1"),
        (lambda: g.TreeSearch(NEAR, output="some"), "output"),
        (lambda: g.PathIntegralGuidance(NEAR, combine="borda"), "combine"),
        (lambda: g.PathIntegralGuidance(NEAR, temperature=-1), "temperature must be a number of at least 0"),
        (lambda: g.PathIntegralGuidance(NEAR, combine="consensus", value=NEAR), "takes the vote of each"),
        (lambda: g.StochasticControlGuidance(NEAR, window=(0.2, 0.8)), "two times from noise"),
        (lambda: g.StochasticControlGuidance(NEAR, pieces=0), "pieces must be at least 1"),
        (lambda: g.StochasticControlGuidance(NEAR, pieces=2, value=NEAR), "leave value= or pieces= out"),
        (lambda: g.PathSearch(NEAR, back=0), "back must be at least 1"),
        (lambda: g.PathSearch(NEAR, interval=0), "interval must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            make()
    for guidance, said in (
        (g.StochasticControlGuidance(near, 2, pieces=3), "into 3 equal pieces along axis -1"),
        (g.StochasticControlGuidance(near, 2, pieces=2, axis=-2), "axis -2"),
        (g.StochasticControlGuidance(gk.objectives.ObjectReward(len), 2, pieces=2), "leave pieces= out"),
        (g.chain(g.TreeSearch(NEAR), g.FKSteering(NEAR)), "leave out the filter"),
        (g.chain(g.StochasticControlGuidance(NEAR), g.FKSteering(NEAR)), "leave out the filter"),
    ):
        with pytest.raises(gk.GuidanceError, match=said):
            gk.sample(GAUSSIAN, guidance, 2, steps=3)
    with pytest.raises(gk.GuidanceError, match="use sampler=ancestral"):
        gk.sample(chain_a.prior, g.PathSearch(chain_a.reward), sampler="first_hitting")


def test_a_drawn_vote_inside_a_filter_is_nested_and_exact(chain_a):
    """The weight is the mean of exp(vote) over the winner's, whatever the votes are: log Z has no bias."""
    inside = g.PathIntegralGuidance(chain_a.reward + chain_a.reward, 3, "normalized", temperature=1.0)
    steering = g.FKSteering(chain_a.reward, 1.0, particles=4, output="all", value=chain_a.expected_reward())
    z = gk.sample(chain_a.prior, g.chain(inside, steering), 4000, 4, sampler="ancestral").log_normalizer.exp()
    assert abs(float(z.mean()) - chain_a.normalizer) < 3.5 * float(z.std()) / math.sqrt(4000)
