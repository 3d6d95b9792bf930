"""Tree search over destinations: guesses of the clean state are judged, and steps go towards the best of them."""

import itertools
import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.requirements import Fact, suits
from guidekit.core.state import leaves
from guidekit.core.step import Moment
from guidekit.objectives import Reward
from guidekit.registry import usable

g = gk.guidance
GAUSSIAN = gk.priors.Gaussian(torch.zeros(4), 1.0, gk.processes.VP("cosine"))
NEAR = gk.objectives.QuadraticReward(torch.ones(4))
N = 40_000
WORTH = torch.tensor([[0.0, 5.0, 2.0], [3.0, 1.0, 8.0], [7.0, 4.0, 6.0]])
"""Of all states of Chain A, no two the same."""


def searched_law(chain, candidates):
    """Law of x_0 (3, 3) with A = 1, by enumeration of all states, guesses and reveals."""
    states = torch.tensor(list(itertools.product(range(4), repeat=2)))
    setup = prepare(chain.prior, sampler=gk.samplers.Ancestral(), steps=4, groups=(0, 16))
    law = torch.zeros(16, dtype=torch.float64)
    law[15] = 1.0
    order, alpha = WORTH.flatten().argsort(), chain.prior.process.alpha
    for index, (t, u) in enumerate(itertools.pairwise(chain.grid)):
        probs = populate(setup, states, Moment(t, index), 1).predict().probs.double()
        revealed = (alpha(u) - alpha(t)) / (1 - alpha(t))
        after = torch.zeros_like(law)
        for row, (z, mass) in enumerate(zip(states.tolist(), law.tolist(), strict=True)):
            guess = (probs[row, 0][:, None] * probs[row, 1][None, :]).flatten()
            below = guess[order].cumsum(0)  # of the best of M independent ones: F^M - (F before it)^M
            best = torch.zeros_like(guess)
            best[order] = below**candidates - (below - guess[order]).clamp_min(0) ** candidates
            for x0, chance in enumerate(best.tolist()):
                for shown in itertools.product((False, True), repeat=2):
                    part, then = mass * chance, list(z)
                    for place, (show, token) in enumerate(zip(shown, divmod(x0, 3), strict=True)):
                        if z[place] == 3:
                            part *= revealed if show else 1 - revealed
                            then[place] = token if show else 3
                        elif show:
                            part = 0.0
                    after[4 * then[0] + then[1]] += part
        law = after
    assert float(law.view(4, 4)[:3, :3].sum()) == pytest.approx(1, abs=1e-9)
    return law.view(4, 4)[:3, :3]


@pytest.mark.parametrize("candidates", [2, 5])
def test_the_law_of_a_greedy_search_by_enumeration(chain_a, candidates):
    """All 9 states are as frequent as the best of M guesses a step make them."""
    search = g.DestinationSearch(gk.objectives.TableReward(WORTH), 1, candidates)
    x = gk.sample(chain_a.prior, search, N, 4, sampler="ancestral").samples
    found = torch.bincount(3 * x[:, 0] + x[:, 1], minlength=9).double() / N
    law = searched_law(chain_a, candidates).flatten()
    assert ((found - law).abs() < 4.5 * (law * (1 - law) / N).sqrt() + 1e-9).all(), (found, law)
    assert float((law - chain_a.law.flatten()).abs().sum()) > 0.2


@pytest.mark.parametrize("spread", [0.5, 1.0])
def test_the_better_of_two_guesses_by_hand(spread):
    """A guess lies std / sqrt(pi) above the estimate; the first of two steps goes towards it, the last ends there."""
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    (a, s), (b, r), _ = (prior.process.coefficients(t) for t in prior.process.grid(2))
    search = g.DestinationSearch(Reward(lambda x: x[:, 0].double()), 1, 2, spread)
    for sampler, kept in (("ancestral", 0.0), ("ddim", 1.0)):
        x = gk.sample(prior, search, N, 2, sampler=sampler).samples[:, 0].double()
        k = 0.0 if kept else r * math.sqrt(1 - (a * r / (b * s)) ** 2)
        toward = b - a * math.sqrt(r * r - k * k) / s
        first, last = (spread * noise / math.sqrt(math.pi) for noise in (s, r))
        mean = b * toward * first + last  # the estimate of a standard normal x_0 at x is a x
        assert float(x.mean()) == pytest.approx(mean, abs=4.5 * float(x.std()) / math.sqrt(N))


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "euler_maruyama"])
def test_a_step_costs_one_call_a_parent_and_one_reward_a_guess(sampler):
    result = gk.sample(GAUSSIAN, g.DestinationSearch(NEAR, 3, 5), 10, 8, sampler=sampler)
    assert result.ledger.network_rows == 10 * 8 * 3 and result.ledger.network_calls == 8
    assert result.ledger.reward_calls == 10 * (8 * 3 * 5 + 3)  # and the best of three at the end


def test_what_was_guessed_is_no_answer_about_the_next_state(chain_a):
    """Also where the network ignores the time and a state has not changed: its parents are asked about again."""
    ledger = gk.sample(chain_a.prior, g.DestinationSearch(chain_a.reward, 3, 5), 10, 4, sampler="ancestral").ledger
    assert chain_a.prior.timeless and ledger.network_rows == 10 * 4 * 3


def test_one_guess_of_one_state_is_the_sampler_bit_for_bit(chain_a):
    for prior, reward in ((GAUSSIAN, NEAR), (chain_a.prior, chain_a.reward)):
        options = dict(num_samples=50, steps=4, sampler="ancestral")
        plain = gk.sample(prior, **options).samples
        assert torch.equal(gk.sample(prior, g.DestinationSearch(reward, 1, 1), **options).samples, plain)


def test_reward_grows_with_the_guesses():
    found = [
        float(NEAR(gk.sample(GAUSSIAN, g.DestinationSearch(NEAR, 1, n), 400, 8).samples).double().mean())
        for n in (1, 2, 4, 16)
    ]
    assert all(b > a for a, b in itertools.pairwise(found)), found


@pytest.mark.parametrize("sampler", [None, "ancestral", "euler_ctmc"])
def test_any_chunking_gives_the_same(chain_a, sampler):
    search = g.DestinationSearch(chain_a.reward, 2, 3)
    whole = gk.sample(chain_a.prior, search, 70, 4, sampler=sampler)
    parts = gk.sample(chain_a.prior, search, 70, 4, sampler=sampler, batch_size=9)
    assert torch.equal(whole.samples, parts.samples)
    assert whole.ledger.network_rows == parts.ledger.network_rows


def test_guesses_that_are_the_same_count_once(chain_a):
    """One step goes where the guesses are: of 256 that cover all 9 states the four best are handed back, each once."""
    search = g.DestinationSearch(gk.objectives.TableReward(WORTH), 4, 64, output="all")
    x = gk.sample(chain_a.prior, search, 20, 1, sampler="ancestral").samples.view(20, 4, 2)
    assert WORTH[x[..., 0], x[..., 1]].tolist() == [[8.0, 7.0, 6.0, 5.0]] * 20


def test_parts_of_a_state_are_guessed_together():
    """Positions move to where the reward wants them, and types become the wanted ones."""
    law = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0))
    prior = gk.priors.PositionsAndTypes(gk.priors.CategoricalChain(law), 0.7)

    def worth(clean):
        positions, types = clean.parts["positions"], clean.parts["types"]
        return (types == 1).sum(1).double() - positions.square().flatten(1).sum(1).double()

    options = dict(num_samples=200, steps=6)
    plain, found = (
        gk.sample(prior, one, **options).samples for one in (None, g.DestinationSearch(Reward(worth), 1, 8))
    )
    assert (found.parts["types"] == 1).double().mean() > (plain.parts["types"] == 1).double().mean() + 0.1
    assert (
        leaves(found.parts["positions"])[0].square().mean() < 0.7 * leaves(plain.parts["positions"])[0].square().mean()
    )


def test_what_does_not_go_together_is_refused(chain_a):
    for settings, said in (({"spread": 0.0}, "spread must be a number above 0"), ({"width": 0}, "width must be")):
        with pytest.raises(ValueError, match=said):
            g.DestinationSearch(NEAR, **settings)
    for sampler in ("heun", "dpm_solver", "unipc", "adams_bashforth"):
        with pytest.raises(
            gk.GuidanceError, match="a sampler whose step goes towards one clean estimate; .* use .*DDIM"
        ):
            gk.sample(GAUSSIAN, g.DestinationSearch(NEAR), sampler=sampler)
    with pytest.raises(gk.GuidanceError, match="goes towards one clean estimate"):
        gk.sample(chain_a.prior, g.DestinationSearch(chain_a.reward), sampler="path_planning")
    inside = g.chain(g.TreeSearch(NEAR, 1), g.DestinationSearch(NEAR, 1))
    with pytest.raises(gk.GuidanceError, match="DestinationSearch decides where a step leads, and TreeSearch inside"):
        gk.sample(GAUSSIAN, inside, sampler="ancestral")
    with pytest.raises(gk.GuidanceError, match="leave out the filter"):
        gk.sample(GAUSSIAN, g.chain(g.DestinationSearch(NEAR), g.FKSteering(NEAR)))


def test_samplers_that_say_so_ask_the_network_once_a_step(chain_a):
    """What states the fact makes no call beside that of the step, and what makes one does not state it."""
    stated = {name for name, kind in usable("sampler") if Fact.ESTIMATE in kind().provides}
    assert {"ancestral", "ddim", "euler", "first_hitting", "euler_ctmc", "remdm"} <= stated
    for name, kind in usable("sampler"):
        for prior in (GAUSSIAN, chain_a.prior):
            if suits(kind(), prior):
                steps = []
                ledger = gk.sample(
                    prior, None, 4, 6, sampler=kind(), progress=lambda told, steps=steps: steps.append(told.step)
                ).ledger
                assert ledger.network_calls <= len(steps) or name not in stated
    assert not stated & {"heun", "dpm_solver", "dpm_solver_single", "unipc", "adams_bashforth", "stochastic_heun"}
    assert Fact.ESTIMATE not in gk.samplers.ReMDM(by_confidence=True).provides
