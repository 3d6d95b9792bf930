"""Row E72: communities: distances to test graphs beside those of training graphs and of an exact sampler."""

from __future__ import annotations

from typing import Any

import numpy as np

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

SPLITS, SAMPLES, STEPS = (1, 2, 3, 4, 5), 100, 300
KIND = "community-small"


def measure(seed: int) -> dict[str, float]:
    """Mean ratio over five draws of the set and its split, of a prior trained on another draw, and of exact graphs."""
    prior = gk.load_domain("graphs", kind=KIND).load_prior()
    graphs = gk.sample(prior, None, SAMPLES, STEPS, seed).objects()
    ratios, exact = [], []
    for split in SPLITS:
        domain: Any = gk.load_domain("graphs", kind=KIND, split=split)
        found = domain.evaluate(graphs)
        ratios.append(float(found["ratio"]))
        exact.append(float(found["exact_ratio"]))
    figures = {f"ratio, split {split}": ratio for split, ratio in zip(SPLITS, ratios, strict=True)}
    return {**figures, "mean ratio": float(np.mean(ratios)), "mean ratio of exact graphs": float(np.mean(exact))}


CLAIM = Claim(
    row="E72",
    method="Graphs by insertion, with constraints (2406.17341, 2409.02908)",
    provides=("samplers.Insertion",),
    tier="",
    says="100 graphs of two communities of a prior trained on 64 of them have on average at most 1.5 times the "
    "distances to test graphs (degrees, clustering, orbits, spectra) that training graphs have, over five splits.",
    domains=("graphs",),
    checks=(Check("mean of four ratios over five splits", "mean ratio", most=1.5, by="mean"),),
    measure=measure,
    longer="a prior for each split",
)
