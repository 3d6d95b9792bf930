"""Row E72: planar graphs: rates that match a discrete flow, and insertions that keep every graph planar."""

from __future__ import annotations

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.evidence.graph_sets import drawn

ABSORBED = "planar-20-absorbing"
"""Name of the prior whose edges are absorbed; that of the other is the set."""


def measure(seed: int) -> dict[str, float]:
    """Of the prior with marginal transitions; and of the absorbing one without and with the constraint."""
    matched = drawn("planar-20", "planar-20", {"rate matching": gk.samplers.RateMatching()}, seed, 100)
    samplers = {"free": gk.samplers.Insertion(), "planar": gk.samplers.Insertion(("planar",))}
    inserted = drawn("planar-20", ABSORBED, samplers, seed, 300)
    slower = inserted["planar: seconds of the processor"] / inserted["free: seconds of the processor"]
    return {**matched, **inserted, "time with the constraint over time without": slower}


CLAIM = Claim(
    row="E72",
    method="Graphs by insertion, with constraints (2406.17341, 2409.02908)",
    provides=("samplers.RateMatching", "samplers.Insertion"),
    tier="",
    says="Of 128 planar graphs of 20 nodes at least 80 % are valid, unique and novel with marginal transitions; "
    "insertion with the constraint gives planar graphs only, in at most 1.4 times the time.",
    domains=("graphs",),
    checks=(
        Check("valid, unique and novel", "rate matching: valid, unique and novel", least=0.8, by="mean"),
        Check("planar, under the constraint", "planar: planar", least=1.0),
        Check("time with the constraint", "time with the constraint over time without", most=1.4, by="mean"),
    ),
    measure=measure,
    oracles=("tests/oracles/test_insertion.py::test_constraints_hold_for_certain",),
    longer="three seeds of training, planar graphs of 64 nodes",
)
