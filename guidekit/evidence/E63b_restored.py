"""Row E63: pictures and relief restored by filtering, beside DPS, and with weights beside more steps."""

from __future__ import annotations

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.evidence.restored import KINDS, TASKS, over, table

STEPS, PARTICLES = 20, 8
PAIRS = (("FPS", "DPS"), ("FPS-SMC", "FPS in 160 steps"))


def measure(seed: int) -> dict[str, float]:
    """PSNR of one draw, and differences."""
    guidance = gk.guidance
    figures = table(
        seed,
        {
            "FPS": (guidance.FPS, STEPS),
            "DPS": (guidance.DPS, STEPS),
            "FPS-SMC": (lambda likelihood: guidance.FPSSMC(likelihood, particles=PARTICLES), STEPS),
            "FPS in 160 steps": (guidance.FPS, STEPS * PARTICLES),
        },
    )
    return {**figures, **over(figures, PAIRS)}


CLAIM = Claim(
    row="E63",
    method="FPS (ICLR 2024)",
    provides=("guidance.FPS", "guidance.FPSSMC"),
    tier="",
    says="Twelve pictures (Fashion-MNIST, the shipped network without a class, noise .02) and twelve tiles of relief "
    "(a Gaussian field, noise of 20 m) a seed, from means of 4 x 4 pixels and from three pixels of ten: one draw "
    "of FPS in 20 steps has at least the PSNR of DPS in 20, as published, and FPS-SMC of 8 particles at least "
    "that of FPS at the same number of network calls.",
    domains=("images", "relief"),
    checks=tuple(
        Check(f"{kind}, {task}: {one} over {other}, dB", f"{kind}, {task}: {one} over {other}", least=0.0)
        for one, other in PAIRS
        for kind in KINDS
        for task in TASKS
    ),
    measure=measure,
    oracles=("tests/oracles/test_inverse_moments.py::test_filtering_multiplies_the_two_laws",),
    longer="100 steps and 20 particles, as published, an hour",
)
