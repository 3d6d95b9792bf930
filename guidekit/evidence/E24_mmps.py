"""Row E24: moment matching with second-order steps is calibrated in 20 steps, and so is the correction by a field."""

from __future__ import annotations

from guidekit.bench.posterior import measured
from guidekit.bench.solvers import Solver
from guidekit.evidence.claim import Check, Claim

STEPS, EACH = 20, 40


def measure(seed: int) -> dict[str, float]:
    """Coverage of 90 % regions in %, and ratio of standard deviations, on the priors of the posterior bench."""
    figures = {}
    for name in ("mmps", "field_correction"):
        for prior in ("gaussian", "mixture"):
            card = measured(Solver(name), prior, STEPS, EACH, seed)["card"]
            figures[f"coverage, {name}, {prior}"] = 100 * card["coverage"]
            figures[f"std ratio, {name}, {prior}"] = card["spread"]
    return figures


CLAIM = Claim(
    row="E24",
    method="MMPS (2405.13712)",
    provides=("guidance.MMPS", "guidance.FieldCorrection"),
    tier="",
    says="Masks, averages and blurs with noise .05 to .3 of a 32-dimensional Gaussian and an 8-dimensional mixture: in "
    "20 steps of second order regions of 90 % cover 88 to 92 % of the truths, and deviations are those of the exact "
    "law within a factor of .95 to 1.1; for MMPS with 3 steps of conjugate gradients, and for the covariance of a "
    "fitted Gaussian field, which needs no backward pass.",
    domains=("exact",),
    checks=tuple(
        check
        for name in ("mmps", "field_correction")
        for prior in ("gaussian", "mixture")
        for check in (
            Check(f"coverage in %: {name}, {prior}", f"coverage, {name}, {prior}", least=88, most=92, by="mean"),
            Check(
                f"deviation over the exact one: {name}, {prior}", f"std ratio, {name}, {prior}", least=0.95, most=1.1
            ),
        )
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_inverse_moments.py::test_moments_and_fields_give_the_conditional_denoiser_of_a_gaussian",
        "tests/oracles/test_inverse_moments.py::test_second_order_steps_have_the_spread_of_the_posterior_in_twenty",
    ),
    longer="50 and 100 steps, fields and jumps: guidekit bench posterior 'guidances=[mmps,field_correction]'",
)
