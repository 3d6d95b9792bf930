"""Row E20: what is known is put back exactly, and going back removes the bias of the rest."""

from __future__ import annotations

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.objectives.operators.masks import Keep


def measure(seed: int) -> dict[str, float]:
    """Mean of the unknown one of two correlated numbers, by how often stretches are gone through; truth .9."""
    prior = gk.priors.Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]), gk.processes.VP("cosine"))
    known = gk.objectives.GaussianLikelihood(Keep(torch.tensor([True, False])), torch.tensor([[1.0, 0.0]]), 0.0)
    figures = {}
    for repeats in (1, 3, 10):
        x = gk.sample(prior, gk.guidance.Replacement(known, repeats, 1), 1500, 100, seed).samples
        figures[f"mean, {repeats}"] = float(x[:, 1].mean())
        figures[f"misfit, {repeats}"] = float((x[:, 0] - 1).abs().max())
    return {**figures, "gain of 3 over 1": figures["mean, 3"] - figures["mean, 1"]}


CLAIM = Claim(
    row="E20",
    method="RePaint (2201.09865)",
    provides=("guidance.Replacement",),
    tier="",
    says="Of two numbers with correlation .9 one is known to be 1: it is met exactly, and the mean of the other (truth "
    ".9) is .61, .81 and .88 where every step is gone through 1, 3 and 10 times.",
    domains=("exact",),
    checks=(
        Check("largest error of what is known, 1 time", "misfit, 1", most=1e-6),
        Check("largest error of what is known, 10 times", "misfit, 10", most=1e-6),
        Check("mean of the rest, 1 time", "mean, 1", least=0.55, most=0.67),
        Check("mean of the rest, 10 times", "mean, 10", least=0.83, most=0.93),
        Check("mean of the rest, 3 times less 1 time", "gain of 3 over 1", least=0.1),
    ),
    measure=measure,
    oracles=("tests/oracles/test_replacement.py::test_the_bias_is_the_known_one_and_going_back_removes_it",),
    longer="250 steps in jumps of 10 on the shipped image prior, an hour",
)
