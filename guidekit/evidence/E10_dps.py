"""Row E10: DPS on laws that are known: its published collapse, and what a step of it is."""

from __future__ import annotations

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim


def measure(seed: int) -> dict[str, float]:
    """Means and spreads for N(0, 1), y = 1, noise .5, where the truth is N(.8, .447^2)."""
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 1.0, gk.processes.VP())
    likelihood = gk.objectives.LinearGaussian(torch.ones(1, 1), torch.ones(1), 0.5)
    options = dict(num_samples=1000, steps=200, seed=seed, sampler="ancestral")
    figures: dict[str, float] = {}
    for loss in ("residual", "norm"):
        x = gk.sample(prior, gk.guidance.DPS(likelihood, loss=loss), **options).samples  # type: ignore[arg-type]
        figures |= {f"mean, {loss}": float(x.mean()), f"spread, {loss}": float(x.std())}
    same = gk.sample(prior, gk.guidance.DPS(likelihood, 0.0), **options).samples  # type: ignore[arg-type]
    plain = gk.sample(prior, None, **options).samples  # type: ignore[arg-type]
    figures["numbers that differ at zeta = 0"] = float((same != plain).sum())
    return figures


CLAIM = Claim(
    row="E10",
    method="DPS (2209.14687)",
    provides=("guidance.DPS",),
    tier="",
    says="On a Gaussian whose posterior is N(.80, .447^2) DPS collapses onto the measurement, as is known of it: mean "
    "1 and a spread of at most .25 with the published norm, .02 with steps of the residual (1,000 samples, 200 steps). "
    "At zeta = 0 it does nothing. Inside a particle filter it is exact: row E30.",
    domains=("exact",),
    checks=(
        Check("mean with the norm", "mean, norm", least=0.95, most=1.05),
        Check("spread with the norm", "spread, norm", most=0.25),
        Check("mean with the residual", "mean, residual", least=0.99, most=1.01),
        Check("spread with the residual", "spread, residual", most=0.02),
        Check("numbers that differ from no guidance at zeta = 0", "numbers that differ at zeta = 0", most=0),
    ),
    measure=measure,
    oracles=("tests/oracles/test_gradient.py::test_dps_is_its_update",),
    longer="pictures, 1,000 steps, an hour",
)
