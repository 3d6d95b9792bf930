"""Row E26: RED-diff finds a point, not a posterior."""

from __future__ import annotations

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim


def measure(seed: int) -> dict[str, float]:
    """Means and spreads for N(0, 1), y = 1, noise .5 (truth N(.8, .447^2)), and the modes of a mixture; VP."""
    process = gk.processes.VP()
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 1.0, process)
    fit = gk.objectives.LinearGaussian(torch.ones(1, 1), torch.ones(1), 0.5)
    found = gk.sample(prior, gk.guidance.REDDiff(fit), 500, 200, seed).samples
    modes = gk.priors.GaussianMixture(torch.tensor([[-2.0], [2.0]]), 0.3, process=process)
    fit = gk.objectives.LinearGaussian(torch.ones(1, 1), torch.full((1,), 0.5), 2.0)
    share = gk.sample(modes, gk.guidance.REDDiff(fit), 500, 200, seed).samples > 0
    return {"mean": float(found.mean()), "spread": float(found.std()), "right mode": float(share.double().mean())}


CLAIM = Claim(
    row="E26",
    method="RED-diff (2305.04391)",
    provides=("guidance.REDDiff",),
    tier="",
    says="An optimizer with the network as regularizer: on a Gaussian whose posterior is N(.80, .447^2) it ends at the "
    "measurement with a spread of at most .12, and finds one mode of two where the posterior has 62 % of it (500 "
    "samples, 200 steps). What is asserted is this bias.",
    domains=("exact",),
    checks=(
        Check("mean: at the measurement", "mean", least=0.95, most=1.05),
        Check("spread: hardly any", "spread", most=0.12),
        Check("share of one mode, .62 in the posterior", "right mode", least=0.98),
    ),
    measure=measure,
    oracles=("tests/oracles/test_inverse_loops.py::test_red_diff_finds_the_point_where_its_gradient_vanishes",),
    longer="pictures, 1,000 steps, an hour",
)
