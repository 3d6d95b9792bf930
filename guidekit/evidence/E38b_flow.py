"""Row E38: on a flow, inversion by an ensemble stands between ensemble guidance and the other baselines."""

from __future__ import annotations

from guidekit.evidence.claim import Check, Claim
from guidekit.evidence.flows import STRENGTHS, compared, less

NAMES = ("EnKG", "EKI", "stochastic control", "best of N", "GSG")
PAIRS = (("EnKG", "EKI"), ("EKI", "stochastic control"), ("EKI", "best of N"), ("EKI", "GSG"))


def measure(seed: int) -> dict[str, float]:
    """Errors, solves and differences."""
    figures = compared(seed, NAMES)
    return {**figures, **less(figures, PAIRS)}


CLAIM = Claim(
    row="E38",
    method="Ensemble Kalman inversion, forward-only gradients (baselines of 2409.20175)",
    provides=("guidance.EnsembleKalmanInversion", "guidance.DPSGSG"),
    tier="",
    says="The flow of row 7 (32 x 32 points, noise 1/s, every second or fourth point seen, the same Gaussian field as "
    "prior), 1,024 solves each, two fields a seed: the order that was published. The mean of EKI (128 members, 8 "
    "moves of descent) is nearer to the truth than stochastic control, best-of-N and DPS with gradients from 32 "
    "draws (GSG), and less near than EnKG.",
    domains=("vorticity",),
    checks=tuple(
        Check(f"error of {one} less that of {other}, one point in {every}", f"{one} less {other}, x{every}", most=0.0)
        for every in STRENGTHS
        for one, other in PAIRS
    ),
    measure=measure,
    oracles=("tests/oracles/test_ensembles.py::test_moves_are_descent_preconditioned_by_the_covariance",),
    longer="128 x 128 points, 500 updates of 512 members and a trained prior, as published: days",
)
