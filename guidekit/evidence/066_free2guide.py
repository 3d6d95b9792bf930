"""Row 66: path-integral control by black boxes: reward grows with the candidates, and ensembles vote."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

CANDIDATES = (1, 2, 4, 16)
N, STEPS, MOLECULES = 2_000, 10, 32


class Forbidden(torch.autograd.Function):
    """Minus the squared distance from (1, ..., 1), of which no gradient is to be had."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, D) -> (B,)."""
        return -(x - 1).square().sum(1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Never asked for."""
        raise AssertionError("a gradient was taken of a black box")


def measure(seed: int) -> dict[str, float]:
    """Rewards by the number of candidates, of ensembles, and of molecules."""
    return numbers(seed) | ensembles(seed) | molecules(seed)


def numbers(seed: int) -> dict[str, float]:
    """Of four normal numbers."""
    prior = gk.priors.Gaussian(torch.zeros(4), 1.0, gk.processes.VP("cosine"))
    reward = gk.objectives.Reward(Forbidden.apply, differentiable=False)
    plain, found = gk.sample(prior, None, N, STEPS, seed).samples, []
    for count in CANDIDATES:
        x = gk.sample(prior, gk.guidance.PathIntegralGuidance(reward, count), N, STEPS, seed).samples
        found.append(float(Forbidden.apply(x).mean()))
        if count == 1:
            same = float((x != plain).sum())
    return {
        **{f"reward, K = {count}": one for count, one in zip(CANDIDATES, found, strict=True)},
        "least rise": min(b - a for a, b in itertools.pairwise(found)),
        "numbers that differ at K = 1": same,
    }


def ensembles(seed: int) -> dict[str, float]:
    """Two rewards, one in a unit 1,000 times as large: how much of each is reached, in standard deviations."""
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0, gk.processes.VP("cosine"))
    small = gk.objectives.Reward(lambda x: 0.001 * x[:, 0], differentiable=False)
    large = gk.objectives.Reward(lambda x: x[:, 1], differentiable=False)
    found = {}
    for combine in ("sum", "normalized", "consensus"):
        guidance = gk.guidance.PathIntegralGuidance(small + large, 16, combine)
        found[combine] = gk.sample(prior, guidance, N, STEPS, seed).samples.mean(0)
    return {f"least of both, {combine}": float(mean.min()) for combine, mean in found.items()}


def molecules(seed: int) -> dict[str, float]:
    """QED of drug-like molecules, 0 for what is none, and what a vote of QED and log P comes to."""
    domain = gk.load_domain("molecules")
    prior, rewards = domain.load_prior(), {"QED": domain.rewards["qed"], "log P": domain.rewards["logp"]}
    both = rewards["QED"] + rewards["log P"]
    made = {
        "K = 1": gk.guidance.PathIntegralGuidance(both, 1),
        "K = 4": gk.guidance.PathIntegralGuidance(rewards["QED"], 4),
        "vote": gk.guidance.PathIntegralGuidance(both, 6, "consensus"),
    }
    found = {}
    for name, guidance in made.items():
        samples = gk.sample(prior, guidance, MOLECULES, seed=seed).samples
        for what, reward in rewards.items():
            scores = gk.objectives.score(prior, reward, samples)
            found[f"{what}, {name}"] = float(scores.where(scores.isfinite(), 0.0).mean())
    return {
        **found,
        "molecules: QED, K = 4 over 1": found["QED, K = 4"] - found["QED, K = 1"],
        "molecules: QED, vote over K = 1": found["QED, vote"] - found["QED, K = 1"],
        "molecules: log P, vote over K = 1": found["log P, vote"] - found["log P, K = 1"],
    }


CLAIM = Claim(
    row=66,
    method="Free2Guide",
    provides=("guidance.PathIntegralGuidance",),
    tier="A",
    says="Of four normal numbers the expected reward of a black box, whose gradient is forbidden, grows with the "
    "candidates of a step (1, 2, 4, 16; 2,000 samples), and one candidate is the sampler, number by number. Of two "
    "rewards whose units differ by 1,000, votes (z-scores, Borda) raise both by .5 standard deviations, a sum forgets "
    "one. On molecules QED (0 for what is none) grows with the candidates, and a vote raises QED and log P's window.",
    domains=("exact", "molecules"),
    checks=(
        Check("reward grows from K = 1 to 2, 4 and 16, least rise", "least rise", least=0),
        Check("numbers that differ from the sampler's at K = 1", "numbers that differ at K = 1", most=0),
        Check("votes by z-scores: least of both rewards", "least of both, normalized", least=0.5),
        Check("votes by rank: least of both rewards", "least of both, consensus", least=0.5),
        Check("the sum: least of both rewards", "least of both, sum", most=0.25),
        Check("molecules: QED, 4 candidates over 1", "molecules: QED, K = 4 over 1", least=0),
        Check("molecules: QED, vote of 6 over 1", "molecules: QED, vote over K = 1", least=0, by="mean"),
        Check("molecules: window of log P, vote of 6 over 1", "molecules: log P, vote over K = 1", least=0, by="mean"),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_candidates.py::test_one_candidate_is_the_sampler_bit_for_bit",
        "tests/oracles/test_candidates.py::test_the_scale_of_a_reward_does_not_matter_to_votes",
    ),
    longer="pictures that move, judged by a model of language, days of a GPU",
)
