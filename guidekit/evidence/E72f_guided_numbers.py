"""Row E72: graphs with a wanted number of triangles and a wanted modularity, beside unguided ones."""

from __future__ import annotations

from typing import Any

import numpy as np

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

SAMPLES, STEPS = 64, 200
WANTED = {"triangles": (80.0, 8.0, 0.3), "modularity": (0.5, 0.03, 300.0)}
"""Target, how far off is still met, and the scale of the gradient, by the reward that judges."""


def measure(seed: int) -> dict[str, float]:
    """Shares of pairs of communities that meet each target, without and with a gradient, and network calls a graph."""
    domain: Any = gk.load_domain("graphs", kind="community-small")
    prior, found = domain.load_prior(), {}
    plain = gk.sample(prior, None, SAMPLES, STEPS, seed)
    for name, (target, off, scale) in WANTED.items():
        judge = domain.rewards.kind(name)().measure
        wanted = domain.rewards.make(f"expected_{name}", target=target)
        guided = gk.sample(prior, gk.guidance.GradientGuidance(wanted, scale), SAMPLES, STEPS, seed)
        shares = {}
        for how, result in (("unguided", plain), ("guided", guided)):
            values = np.array([np.inf if graph is None else judge(graph) for graph in result.objects()])
            shares[how] = float((abs(values - target) <= off).mean())
            found[f"{name}, {how}: share that meets the target"] = shares[how]
            found[f"{name}, {how}: mean"] = float(values[np.isfinite(values)].mean())
        found[f"{name}: guided over unguided"] = shares["guided"] / max(shares["unguided"], 1 / SAMPLES)
        found[f"{name}: network calls guided over unguided"] = guided.ledger.network_rows / plain.ledger.network_rows
    return found


CLAIM = Claim(
    row="E72",
    method="Graphs by insertion, with constraints (2406.17341, 2409.02908)",
    provides=("samplers.Insertion", "priors.GraphPrior"),
    tier="",
    says="72 to 88 triangles, and a modularity of .47 to .53 by Louvain's method, are met by at least 3 times as many "
    "graphs of two communities with a gradient as without, in at most 1.15 times the network calls.",
    domains=("graphs",),
    checks=(
        Check("triangles: guided over unguided", "triangles: guided over unguided", least=3.0, by="mean"),
        Check("triangles: network calls", "triangles: network calls guided over unguided", most=1.15, by="mean"),
        Check("modularity: guided over unguided", "modularity: guided over unguided", least=3.0, by="mean"),
        Check("modularity: network calls", "modularity: network calls guided over unguided", most=1.15, by="mean"),
    ),
    measure=measure,
    oracles=("tests/graphs/test_domain.py::test_expected_modularity_is_that_of_a_split_in_two",),
    longer="targets that no training graph meets, larger graphs",
)
