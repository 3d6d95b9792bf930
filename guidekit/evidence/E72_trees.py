"""Row E72: trees by insertion: valid, unique and novel ones, and a constraint that holds for certain."""

from __future__ import annotations

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.evidence.graph_sets import drawn

CONSTRAINTS = {"free": (), "acyclic": ("acyclic",), "acyclic and connected": ("acyclic", "connected")}


def measure(seed: int) -> dict[str, float]:
    """Trees of 32 nodes as they come, where no cycle may be closed, and where they must be connected, too."""
    samplers = {name: gk.samplers.Insertion(given) for name, given in CONSTRAINTS.items()}
    return drawn("tree-32", "tree-32", samplers, seed, 300)


CLAIM = Claim(
    row="E72",
    method="Graphs by insertion, with constraints (2406.17341, 2409.02908)",
    provides=("samplers.Insertion", "priors.GraphPrior"),
    tier="",
    says="Of 128 trees of 32 nodes of a prior trained for minutes on one core, at least 95 % are trees, unique and "
    "novel; with the constraint none has a cycle, and with a second one all are trees.",
    domains=("graphs",),
    checks=(
        Check("valid, unique and novel", "free: valid, unique and novel", least=0.95, by="mean"),
        Check("without a cycle, under the constraint", "acyclic: without a cycle", least=1.0),
        Check(
            "valid, unique and novel under both constraints",
            "acyclic and connected: valid, unique and novel",
            least=0.99,
            by="mean",
        ),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_insertion.py::test_the_law_is_exact",
        "tests/oracles/test_insertion.py::test_constraints_hold_for_certain",
    ),
    longer="three seeds of training, trees of 64 nodes",
)
