"""Row E72: graphs with a wanted number of edges, and molecules as graphs that are drug-like, beside unguided ones."""

from __future__ import annotations

from typing import Any

import numpy as np

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

EDGES, OFF, QED = 70, 3, 0.58
"""Edges that are asked for, how far off they may be, and what drug-likeness is asked for."""
CANDIDATES = 8


def edges(seed: int) -> dict[str, float]:
    """Shares of 128 pairs of communities with the wanted number of edges, and network calls a graph."""
    domain: Any = gk.load_domain("graphs", kind="community-small")
    prior, found = domain.load_prior(), {}
    climb = gk.guidance.GradientGuidance(domain.rewards.make("expected_edges", target=EDGES), 1.0)
    for name, guidance in (("unguided", None), ("guided", climb)):
        result = gk.sample(prior, guidance, 128, 200, seed)
        counts = np.array([np.inf if graph is None else graph.number_of_edges() for graph in result.objects()])
        found[f"edges, {name}: share that meets the target"] = float((abs(counts - EDGES) <= OFF).mean())
        found[f"edges, {name}: network calls a graph"] = result.ledger.network_rows / 128
    return found


def drugs(seed: int) -> dict[str, float]:
    """Shares of molecules of at least that drug-likeness: unguided, the best of 8, and searched with 8 candidates."""
    domain: Any = gk.load_domain("graphs", kind="qm9")
    prior, qed, judge, found = domain.load_prior(), domain.rewards["qed"], domain.rewards.kind("qed")(), {}
    for name, guidance, count in (
        ("unguided", None, 512),
        ("best of 8", gk.guidance.BestOfN(qed, CANDIDATES), 64),
        ("SVDD", gk.guidance.SVDD(qed, CANDIDATES), 64),
    ):
        result = gk.sample(prior, guidance, count, 60, seed)
        values = np.array([0.0 if graph is None else judge(graph) for graph in result.objects()])
        found[f"QED, {name}: share that meets the target"] = float((values >= QED).mean())
        found[f"QED, {name}: network calls a graph"] = result.ledger.network_rows / count
    return found


def measure(seed: int) -> dict[str, float]:
    """Shares, and how many times those of unguided graphs they are."""
    found = edges(seed) | drugs(seed)
    share = "share that meets the target"
    calls = found["edges, guided: network calls a graph"] / found["edges, unguided: network calls a graph"]
    return {
        **found,
        "edges, guided over unguided": found[f"edges, guided: {share}"] / found[f"edges, unguided: {share}"],
        "edges, network calls guided over unguided": calls,
        "QED, SVDD over unguided": found[f"QED, SVDD: {share}"] / found[f"QED, unguided: {share}"],
        "QED, SVDD over the best of 8": found[f"QED, SVDD: {share}"] / found[f"QED, best of 8: {share}"],
    }


CLAIM = Claim(
    row="E72",
    method="Graphs by insertion, with constraints (2406.17341, 2409.02908)",
    provides=("samplers.Insertion", "priors.GraphPrior"),
    tier="",
    says="67 to 73 edges are met by at least 3 times as many graphs of two communities with a gradient as without, "
    "in at most 1.3 times the network calls; molecules of a QED of at least .58 are drawn at least 3 times as often "
    "with 8 candidates a step, and more often than as the best of 8, whose calls are as many.",
    domains=("graphs",),
    checks=(
        Check("edges: guided over unguided", "edges, guided over unguided", least=3.0, by="mean"),
        Check("edges: network calls", "edges, network calls guided over unguided", most=1.3, by="mean"),
        Check("QED: SVDD over unguided", "QED, SVDD over unguided", least=3.0, by="mean"),
        Check("QED: SVDD over the best of 8", "QED, SVDD over the best of 8", least=1.0, by="mean"),
    ),
    measure=measure,
    oracles=("tests/oracles/test_insertion.py::test_the_law_is_exact",),
    longer="a value network",
)
