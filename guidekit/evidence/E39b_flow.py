"""Row E39: the policy gradient on a flow, beside stochastic control and best-of-N, as was published."""

from __future__ import annotations

from guidekit.evidence.claim import Check, Claim
from guidekit.evidence.flows import STRENGTHS, compared, less

NAMES = ("DPG", "stochastic control", "best of N")
PAIRS = (("DPG", "stochastic control"), ("DPG", "best of N"))


def measure(seed: int) -> dict[str, float]:
    """Errors, solves and differences."""
    figures = compared(seed, NAMES)
    return {**figures, **less(figures, PAIRS)}


CLAIM = Claim(
    row="E39",
    method="DPG, policy gradient (2403.10585)",
    provides=("guidance.DiffusionPolicyGradient",),
    tier="",
    says="The flow of row 7 (32 x 32 points, noise 1/s, every second or fourth point seen, a Gaussian field as prior), "
    "1,024 solves each, two fields a seed: one chain of the policy gradient (32 steps, 31 draws and the estimate) "
    "is nearer to the truth than stochastic control and best-of-N, as published for 4,000 draws in each of 1,000 "
    "steps.",
    domains=("vorticity",),
    checks=tuple(
        Check(f"error of {one} less that of {other}, one point in {every}", f"{one} less {other}, x{every}", most=0.0)
        for every in STRENGTHS
        for one, other in PAIRS
    ),
    measure=measure,
    oracles=("tests/oracles/test_black_box_gradients.py::test_the_policy_gradient_goes_the_way_of_the_gradient",),
    longer="4,000 draws a step and 1,000 steps as published, days",
)
