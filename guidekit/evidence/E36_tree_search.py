"""Row E36: a beam that is wide enough finds the best state there is, and more branches or guesses are no worse."""

from __future__ import annotations

import itertools

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.guidance.values import NoisyValue
from guidekit.objectives import Value

LAW = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
REWARDS = torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, -1]], dtype=torch.float64)
GRID = [1.0, 0.75, 0.5, 0.25, 0.0]
N = 2_000


def measure(seed: int) -> dict[str, float]:
    """Shares of samples that are a best state, and mean rewards by the numbers of branches."""
    chain, reward = gk.priors.CategoricalChain(LAW, gk.processes.Masked()), gk.objectives.TableReward(REWARDS)
    tables = dict(zip(GRID, chain.soft_values(REWARDS, GRID), strict=True))
    exact = NoisyValue(reward, Value(lambda z, t: tables[float(t)][tuple(z.unbind(1))], "noisy", False))
    best = float(REWARDS.max())
    wide = gk.sample(chain, gk.guidance.TreeSearch(reward, 16, 16, value=exact), N, 4, seed, "ancestral").samples
    plain = gk.sample(chain, None, N, 4, seed, "ancestral").samples
    alone = gk.sample(chain, gk.guidance.TreeSearch(reward, 1, 1), N, 4, seed, "ancestral").samples
    prior = gk.priors.Gaussian(torch.zeros(4), 1.0, gk.processes.VP("cosine"))
    near = gk.objectives.QuadraticReward(torch.ones(4))
    sizes = ((1, 1), (1, 4), (4, 4), (8, 8))
    grown = [
        float(near(gk.sample(prior, gk.guidance.TreeSearch(near, a, k), N, 8, seed).samples).mean()) for a, k in sizes
    ]
    scheduled = gk.guidance.TreeSearch(near, [8, 4, 2], [2, 4, 8], interval=2)
    narrowing = gk.sample(prior, scheduled, N, 8, seed)
    led = {
        k: gk.sample(prior, gk.guidance.DestinationSearch(near, 4 if k > 1 else 1, k), N, 8, seed) for k in (1, 4, 16)
    }
    guessed = [float(near(run.samples).mean()) for run in led.values()]
    return {
        "destinations, rows a sample and step beyond A": led[16].ledger.network_rows / N / 8 - 4,
        "destinations, least rise": min(b - a for a, b in itertools.pairwise(guessed)),
        "destinations over a beam at equal rows, reward": guessed[-1] - grown[1],
        **{f"reward of destinations, K = {k}": one for k, one in zip(led, guessed, strict=True)},
        "share of best states, wide": float((reward(wide) == best).double().mean()),
        "share of best states, without": float((reward(plain) == best).double().mean()),
        "tokens that differ at A = K = 1": float((alone != plain).sum()),
        **{f"reward, A = {a}, K = {k}": one for (a, k), one in zip(sizes, grown, strict=True)},
        "least rise": min(b - a for a, b in itertools.pairwise(grown)),
        "reward by schedule, over A = K = 1": float(near(narrowing.samples).mean()) - grown[0],
    }


CLAIM = Claim(
    row="E36",
    method="Beam and tree search, TreeG (2502.11420), DSearch (2503.02039)",
    provides=("guidance.TreeSearch", "guidance.DestinationSearch"),
    tier="",
    says="On a chain of two tokens that can be enumerated, a beam of 16 states with 16 children each and the exact "
    "value ends at a best state every time (2,000 samples); one state with one child is the sampler, token by "
    "token. On four normal numbers with a quadratic reward, A K = 1, 4, 16 and 64 find ever more, and widths "
    "by schedule with a choice every second step work. A search over destinations asks the network for A states a "
    "step however many it guesses; more guesses find more, and with 4 states and 16 guesses each no less than a "
    "beam that asks for as many.",
    domains=("exact",),
    checks=(
        Check("share of samples that are a best state", "share of best states, wide", least=1),
        Check("tokens that differ from the sampler's at A = K = 1", "tokens that differ at A = K = 1", most=0),
        Check("reward grows with A K = 1, 4, 16, 64, least rise", "least rise", least=0),
        Check("by schedule (DSearch), over A = K = 1", "reward by schedule, over A = K = 1", least=1),
        Check(
            "destinations, network rows a sample and step beyond A = 4",
            "destinations, rows a sample and step beyond A",
            least=0,
            most=0,
        ),
        Check("destinations, reward grows with K = 1, 4, 16, least rise", "destinations, least rise", least=0),
        Check(
            "destinations (A = 4, K = 16) over a beam of as many rows (A = 1, K = 4), reward",
            "destinations over a beam at equal rows, reward",
            least=0,
        ),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_candidates.py::test_a_tree_wide_enough_finds_the_best_state",
        "tests/oracles/test_candidates.py::test_the_beam_is_the_best_of_an_exhaustive_search",
        "tests/oracles/test_candidates.py::test_widths_follow_their_schedule",
        "tests/oracles/test_destinations.py::test_the_law_of_a_greedy_search_by_enumeration",
    ),
    longer="music, molecules and enhancers as published, days",
)
