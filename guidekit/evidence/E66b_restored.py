"""Row E66: pictures and relief restored by the decoupled filter, beside MCGDiff and single chains of DAPS."""

from __future__ import annotations

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.evidence.restored import KINDS, TASKS, over, table

STEPS, PARTICLES = 20, 8
PAIRS = (("DDSMC", "MCGDiff"), ("DDSMC", "DAPS"))


def measure(seed: int) -> dict[str, float]:
    """PSNR of one draw, and differences."""
    guidance = gk.guidance
    figures = table(
        seed,
        {
            "DDSMC": (lambda likelihood: guidance.DDSMC(likelihood, particles=PARTICLES), STEPS),
            "MCGDiff": (lambda likelihood: guidance.MCGDiff(likelihood, particles=PARTICLES), STEPS),
            "DAPS": (lambda likelihood: guidance.DAPS(likelihood, variance=1.0), STEPS * PARTICLES),
        },
    )
    return {**figures, **over(figures, PAIRS)}


CLAIM = Claim(
    row="E66",
    method="DDSMC (2502.06379)",
    provides=("guidance.DDSMC",),
    tier="",
    says="Twelve pictures (Fashion-MNIST, the shipped network without a class, noise .02) and twelve tiles of relief "
    "(a Gaussian field, noise of 20 m) a seed, from means of 4 x 4 pixels and from three pixels of ten, 160 "
    "network calls a draw: DDSMC of 8 particles in 20 steps has at least the PSNR of MCGDiff of 8 particles and "
    "of DAPS in 160 steps.",
    domains=("images", "relief"),
    checks=tuple(
        Check(f"{kind}, {task}: {one} over {other}, dB", f"{kind}, {task}: {one} over {other}", least=0.0)
        for one, other in PAIRS
        for kind in KINDS
        for task in TASKS
    ),
    measure=measure,
    oracles=("tests/oracles/test_twists.py::test_ddsmc_is_exact_for_the_chain_it_takes",),
    longer="200 steps and 16 particles, as published, an hour",
)
