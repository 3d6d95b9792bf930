"""Row 81: graphs of a wanted density, by trunk and stem in a loop and by a prior that is told the density."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import torch

import guidekit as gk
from guidekit.domains.graphs import dataset
from guidekit.evidence.claim import Check, Claim

KIND, JOINT, TOLD = "community-small", "community-small-twigs", "community-small-told"
SHARES, SAMPLES, STEPS = (0.1, 0.3, 0.5, 0.7, 0.9), 24, 64
"""Targets are these quantiles of the training graphs' density."""


def measure(seed: int) -> dict[str, float]:
    """Mean distance to the wanted density of both, and of graphs that are told nothing; the trunk alone, twice."""
    domain: Any = gk.load_domain("graphs", kind=KIND)
    joint, told = domain.load_prior(JOINT), domain.load_prior(TOLD)
    densities = np.array([nx.density(graph) for graph in dataset(KIND, "train")])
    gaps: dict[str, list[float]] = {"loop": [], "told": [], "trunk alone": []}
    loop = gk.guidance.LoopGuidance
    alone = gk.sample(joint, loop(weight=0.0), SAMPLES, STEPS, seed)
    for share in SHARES:
        target = {"density": float(np.quantile(densities, share))}
        drawn = {
            "loop": gk.sample(joint, loop(target), SAMPLES, STEPS, seed),
            "told": gk.sample(told, None, SAMPLES, STEPS, seed, condition=target),
            "trunk alone": alone,
        }
        for name, result in drawn.items():
            found = np.array([nx.density(graph) for graph in result.objects()])
            gaps[name].append(float(abs(found - target["density"]).mean()))
    off = gk.sample(joint, loop(target, weight=0.0), SAMPLES, STEPS, seed).samples
    graphs = slice(0, joint.stems.start)
    means = {name: float(np.mean(values)) for name, values in gaps.items()}
    return {
        **{f"{name}: mean error of the density": value for name, value in means.items()},
        "loop over told": means["loop"] / means["told"],
        "loop over trunk alone": means["loop"] / means["trunk alone"],
        "weight 0: largest difference from the trunk": float((off - alone.samples)[:, graphs].abs().max()),
        "weight 0: graphs that differ": float((~torch.isclose(off, alone.samples)[:, graphs]).any(1).sum()),
    }


CLAIM = Claim(
    row=81,
    method="Twigs",
    provides=("guidance.LoopGuidance", "priors.AdjacencyPrior"),
    tier="A",
    says="Graphs of two communities come nearer to a wanted density from a prior in which both diffuse together than "
    "from one of the same size and training that is told the density, and much nearer than without; with weight 0 they "
    "are those of the trunk alone.",
    domains=("graphs",),
    checks=(
        Check("mean error of the density, loop over told", "loop over told", most=1.0, by="mean"),
        Check("mean error of the density, loop over the trunk alone", "loop over trunk alone", most=0.75, by="mean"),
        Check("graphs of weight 0 that are not those of the trunk", "weight 0: graphs that differ", most=0.0),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_loop_guidance.py::test_a_target_gives_the_conditional_law",
        "tests/oracles/test_loop_guidance.py::test_the_loop_without_a_target_gives_the_joint_law",
        "tests/oracles/test_loop_guidance.py::test_without_stems_the_target_does_not_matter",
    ),
    longer="three seeds of training, molecules, larger graphs",
)
