"""Row E35: the greedy choice among noises approaches the optimum as there are more, in a window, piece by piece."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

CANDIDATES = (1, 2, 4, 16)
N, STEPS, PIECES = 2_000, 10, 4


def near(x: Tensor) -> Tensor:
    """Minus the squared distance from (1, ..., 1), (B,)."""
    return -(x - 1).square().sum(1)


def measure(seed: int) -> dict[str, float]:
    """Losses by the number of noises, and what they cost."""
    prior = gk.priors.Gaussian(torch.zeros(PIECES), 1.0, gk.processes.VP("cosine"))
    plain, losses = gk.sample(prior, None, N, STEPS, seed), []
    for count in CANDIDATES:
        result = gk.sample(prior, gk.guidance.StochasticControlGuidance(near, count), N, STEPS, seed)
        losses.append(-float(near(result.samples).mean()))
        if count == 1:
            same = float((result.samples != plain.samples).sum())
    pieces = gk.guidance.StochasticControlGuidance(near, 4, pieces=PIECES)
    parted = gk.sample(prior, pieces, N, STEPS, seed)
    everywhere = gk.guidance.StochasticControlGuidance(near, 4, window=(1.0, 0.0))
    rows = gk.sample(prior, everywhere, N, STEPS, seed).ledger.network_rows / N
    return {
        **{f"loss, n = {count}": one for count, one in zip(CANDIDATES, losses, strict=True)},
        "least fall": min(a - b for a, b in itertools.pairwise(losses)),
        "numbers that differ at n = 1": same,
        "loss of pieces over that of the whole, n = 4": -float(near(parted.samples).mean()) / losses[2],
        "rows too many": rows - (1 + 4 * (STEPS - 1)),
    }


CLAIM = Claim(
    row="E35",
    method="SCG (2402.14285)",
    provides=("guidance.StochasticControlGuidance",),
    tier="",
    says="Four normal numbers and a quadratic loss, 10 steps, guided from time .75 on: the mean loss falls from 1 "
    "noise a step to 2, 4 and 16 (2,000 samples), 1 is the sampler itself, and each of four pieces chosen by "
    "itself brings less than half of the loss. A step with n noises costs n network rows, not n + 1.",
    domains=("exact",),
    checks=(
        Check("loss falls from n = 1 to 2, 4 and 16, least fall", "least fall", least=0),
        Check("numbers that differ from the sampler's at n = 1", "numbers that differ at n = 1", most=0),
        Check("loss of pieces over the whole's, n = 4", "loss of pieces over that of the whole, n = 4", most=0.5),
        Check("network rows of a sample beyond n a step", "rows too many", least=0, most=0),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_candidates.py::test_best_of_two_noises_by_hand",
        "tests/oracles/test_candidates.py::test_the_winner_serves_the_next_step",
        "tests/oracles/test_candidates.py::test_every_piece_is_the_best_of_its_own",
    ),
    longer="rules of piano rolls on chorales, an hour",
)
