"""Row 100: guidance in an interval of noise levels costs what it should, and is what its closed form says."""

from __future__ import annotations

from typing import Any

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

MIXTURE = gk.priors.GaussianMixture(
    torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]]), 0.5, torch.tensor([0.5, 0.3, 0.2]), gk.processes.EDM()
)
LOW, HIGH, STEPS = 0.3, 2.0, 32


def closed_form() -> tuple[gk.priors.ClassConditional, float]:
    """Centered Gaussians of deviation .5 and 1.3, and the deviation at which w = 3 in the interval ends."""
    process = gk.processes.EDM(0.002, 200.0)
    null, given = (gk.priors.Gaussian(torch.zeros(1), v, process) for v in (1.69, 0.25))
    shares = [(v + LOW**2) / (v + HIGH**2) for v in (0.25, 1.69)]
    return gk.priors.ClassConditional(null, [given]), 0.5 * shares[0] / shares[1]


def mode_error(x: torch.Tensor) -> float:
    """How far the mean and deviation of samples are from those of the component asked for."""
    return float((x.mean(0) - MIXTURE.means[0]).norm() + (x.std(0) - 0.5).norm())


def measure(seed: int) -> dict[str, float]:
    """Rows that the network saw, values that differ, and the error of the deviation."""
    guidance, process = gk.guidance.GuidanceInterval(3.0, LOW, HIGH), MIXTURE.process
    options: dict[str, Any] = dict(num_samples=2_000, steps=STEPS, seed=seed, sampler="ddim", condition=0)
    within = gk.sample(MIXTURE, guidance, **options)
    levels = [s / a for a, s in (process.coefficients(t) for t in process.grid(STEPS)[:-1])]
    wanted = 2_000 * (STEPS + sum(LOW < float(level) <= HIGH for level in levels))
    cfg = gk.sample(MIXTURE, gk.guidance.CFG(3.0), **options)
    full = gk.sample(MIXTURE, gk.guidance.GuidanceInterval(3.0, 0.0, 1e9), **options)
    prior, std = closed_form()
    run: dict[str, Any] = dict(num_samples=20_000, steps=300, seed=seed, sampler="heun", condition=0)
    x = gk.sample(prior, guidance, **run).samples
    return {
        "rows too many": float(within.ledger.network_rows - wanted),
        "share of CFG's rows": within.ledger.network_rows / cfg.ledger.network_rows,
        "numbers that differ": float((full.samples != cfg.samples).sum()),
        "error of the deviation": abs(float(x.double().std()) / std - 1),
        "error of the mode, interval less CFG": mode_error(within.samples) - mode_error(cfg.samples),
    }


CLAIM = Claim(
    row=100,
    method="GuidanceInterval",
    provides=("guidance.GuidanceInterval",),
    tier="A",
    says="Outside the interval the network is asked once a step; an interval of all levels is CFG bit for bit;"
    " two centered Gaussians end at the deviation of the closed form, .1279 for (.3, 2] and w = 3; on a "
    "mixture the component asked for keeps its mean and deviation better than under CFG at the same "
    "weight.",
    domains=("exact",),
    checks=(
        Check("network rows beyond those of the levels inside", "rows too many", least=0, most=0),
        Check("numbers that differ from CFG's in the full interval", "numbers that differ", most=0),
        Check("deviation, relative error", "error of the deviation", most=0.02),
        Check("error of mean and deviation of the mode, less CFG's", "error of the mode, interval less CFG", most=0),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_contrast.py::test_guidance_in_an_interval_ends_at_the_closed_form",
        "tests/oracles/test_contrast.py::test_an_interval_saves_the_second_branch_outside",
    ),
    longer="a search for the best interval on images, audio and molecules at equal accuracy, several hours",
)
