"""Row E72: molecules as graphs, by insertion of bonds and atoms, without any correction."""

from __future__ import annotations

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

SAMPLES, STEPS = 10_000, 60


def measure(seed: int) -> dict[str, float]:
    """Figures of 10,000 molecules."""
    domain = gk.load_domain("graphs", kind="qm9")
    found = domain.evaluate(gk.sample(domain.load_prior(), None, SAMPLES, STEPS, seed).objects())
    return {key: float(found[key]) for key in ("valid", "valid_connected", "unique", "novel", "fcd", "fcd_floor")}


CLAIM = Claim(
    row="E72",
    method="Graphs by insertion, with constraints (2406.17341, 2409.02908)",
    provides=("samplers.Insertion",),
    tier="",
    says="Of 10,000 molecules of at most 9 heavy atoms at least 97 % are valid and connected, and at least 97 % of the "
    "valid ones distinct, without any correction; novelty and the Frechet ChemNet distance are told.",
    domains=("graphs",),
    checks=(
        Check("valid and connected", "valid_connected", least=0.97, by="mean"),
        Check("unique among the valid", "unique", least=0.97, by="mean"),
    ),
    measure=measure,
    longer="three seeds of training",
)
