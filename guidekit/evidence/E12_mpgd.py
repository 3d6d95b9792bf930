"""Row E12: MPGD is a corner of TFG, needs no backward pass through the network, and collapses onto the measurement."""

from __future__ import annotations

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim


def measure(seed: int) -> dict[str, float]:
    """Difference from TFG at rho = 0 and one iteration; law and cost on N(0, 1), y = 1, noise .5."""
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 1.0, gk.processes.VP())
    likelihood, g = gk.objectives.LinearGaussian(torch.ones(1, 1), torch.ones(1), 0.5), gk.guidance
    options = dict(num_samples=1000, steps=100, seed=seed, sampler="ancestral", dtype=torch.float64)
    found = gk.sample(prior, g.MPGD(likelihood), **options)  # type: ignore[arg-type]
    tfg = g.TFG(likelihood, 0.0, 1.0, 0.0, 1, mu_schedule="constant", loss="residual")
    other = gk.sample(prior, tfg, **options).samples  # type: ignore[arg-type]
    return {
        "difference from TFG": float((found.samples - other).abs().max()),
        "backward passes": float(found.ledger.backward_passes),
        "calls a step": found.ledger.network_calls / 100,
        "mean": float(found.samples.mean()),
        "spread": float(found.samples.std()),
    }


CLAIM = Claim(
    row="E12",
    method="MPGD (2311.16424)",
    provides=("guidance.MPGD", "guidance.TFG"),
    tier="",
    says="MPGD without an autoencoder is TFG at rho = 0 with one iteration to 1e-12, makes one network call a step and "
    "no backward pass through it, and collapses onto the measurement where the posterior is N(.80, .447^2).",
    domains=("exact",),
    checks=(
        Check("largest difference from TFG", "difference from TFG", most=1e-12),
        Check("backward passes through the network", "backward passes", most=0),
        Check("network calls a step", "calls a step", most=1),
        Check("mean, where .80 is true", "mean", least=0.99, most=1.01),
        Check("spread, where .447 is true", "spread", most=0.02),
    ),
    measure=measure,
    oracles=("tests/oracles/test_gradient.py::test_mpgd_is_its_update",),
    longer="projection by an autoencoder is not there",
)
