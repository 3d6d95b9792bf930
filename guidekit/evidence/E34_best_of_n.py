"""Row E34: the best of N is the largest of N independent draws, on a chain, molecules and DNA, and no farther away."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import guidekit as gk
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.evidence.claim import Check, Claim

LAW = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
REWARDS = torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, -1]], dtype=torch.float64)
GRID = [1.0, 0.75, 0.5, 0.25, 0.0]
SIZES, DRAWS, BEST = (1, 2, 4, 8, 16), 20_000, 8


def largest(law: Tensor, values: Tensor, n: int) -> float:
    """Expected largest of n draws of values with probabilities law."""
    order = values.argsort()
    below = law[order].cumsum(0).clamp_max(1.0) ** n
    return float((values[order] * below.diff(prepend=below.new_zeros(1))).sum())


def enumerated(seed: int) -> dict[str, float]:
    """Errors of the mean reward, and divergences above their bound, on a chain of nine states."""
    chain, reward = gk.priors.CategoricalChain(LAW, gk.processes.Masked()), gk.objectives.TableReward(REWARDS)
    base, values = chain.sampler_law(GRID).flatten(), REWARDS.flatten()
    errors, excess = [], []
    for n in SIZES:
        x = gk.sample(chain, gk.guidance.BestOfN(reward, n), DRAWS, 4, seed, "ancestral").samples
        errors.append(abs(float(reward(x).mean()) - largest(base, values, n)))
        law = torch.bincount(x[:, 0] * 3 + x[:, 1], minlength=9).double() / DRAWS
        divergence = float(torch.special.xlogy(law, law / base).sum())
        if n > 1:
            excess.append(divergence - (math.log(n) - (n - 1) / n))
    return {"chain: largest error": max(errors), "chain: divergence above the bound": max(excess)}


def drawn(prior: Prior, reward: Objective, n: int, count: int, seed: int, steps: int) -> tuple[Tensor, float]:
    """Rewards of so many winners, 0 for what is no object, and network rows of each."""
    guidance = gk.guidance.BestOfN(reward, n) if n > 1 else None
    result = gk.sample(prior, guidance, count, steps, seed)
    values = gk.objectives.score(prior, reward, result.samples).double()
    return values.nan_to_num(nan=0.0, neginf=0.0), result.ledger.network_rows / count


def beside(
    name: str, domain: str, reward: str, options: dict[str, str], sizes: tuple[int, int], seed: int, steps: int
) -> dict[str, float]:
    """The best of `BEST` beside the largest of as many unguided draws, of another seed."""
    opened = gk.load_domain(domain)
    prior, goal = opened.load_prior(), opened.rewards.make(reward, **options)
    plain, single = drawn(prior, goal, 1, sizes[0], 1_000 + seed, steps)
    best, rows = drawn(prior, goal, BEST, sizes[1], seed, steps)
    expected = largest(torch.full_like(plain, 1 / len(plain)), plain, BEST)
    return {
        f"{name}: unguided": float(plain.mean()),
        f"{name}: best of {BEST}": float(best.mean()),
        f"{name}: best less expected": float(best.mean()) - expected,
        f"{name}: gain": float(best.mean() - plain.mean()),
        f"{name}: rows over {BEST} draws": rows / (BEST * single),
    }


def measure(seed: int) -> dict[str, float]:
    """A chain that can be enumerated, QED of molecules, bits of CTCF sites."""
    return {
        **enumerated(seed),
        **beside("QED", "molecules", "qed", {}, (400, 100), seed, 50),
        **beside("CTCF", "dna", "motif", {"motif": "CTCF"}, (128, 24), seed, 16),
    }


CLAIM = Claim(
    row="E34",
    method="Best-of-N",
    provides=("guidance.BestOfN",),
    tier="",
    says="On an enumerable chain the mean reward of the best of 1, 2, 4, 8 and 16 is that of the largest of as many "
    "independent draws within .03 (20,000 samples), and the divergence from what it chooses from is at most log N - "
    "(N - 1) / N nats. The best of 8 molecules (100 groups, 400 unguided draws) has the QED that order statistics of "
    "unguided draws foretell within .03 and .05 more than a draw, the best of 8 pieces of DNA (24 groups, 128 draws) "
    "their bits of a CTCF site within 2 and 1 more, each for 8 times the network rows.",
    domains=("exact", "molecules", "dna"),
    checks=(
        Check("chain: largest error of the mean reward", "chain: largest error", most=0.03),
        Check("chain: divergence above log N - (N - 1) / N", "chain: divergence above the bound", most=0.0),
        Check("QED of the best of 8 less that foretold", "QED: best less expected", least=-0.03, most=0.03),
        Check("QED of the best of 8 less that of a draw", "QED: gain", least=0.05),
        Check("molecules: network rows over those of 8 draws", "QED: rows over 8 draws", least=0.9, most=1.1),
        Check("bits of the best of 8 less those foretold", "CTCF: best less expected", least=-2.0, most=2.0),
        Check("bits of the best of 8 less those of a draw", "CTCF: gain", least=1.0),
        Check("DNA: network rows over those of 8 draws", "CTCF: rows over 8 draws", least=0.9, most=1.1),
    ),
    measure=measure,
    oracles=("tests/oracles/test_chain_a.py::test_best_of_n_takes_the_best_of_n_base_draws",),
    longer="larger N: its gain grows as the quantiles of the reward do, its cost as N",
)
