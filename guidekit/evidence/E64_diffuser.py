"""Row E64: plans through mazes, executed: unguided, with costs of walls, the best of four, and replanned."""

from __future__ import annotations

from typing import Any

import numpy as np

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

PAIRS, STEPS = 100, 20
MAZES = {"u": (0.98, 0.99), "medium": (0.96, 0.98)}
"""Success asked of unguided plans, and of one plan with guidance."""


def judged(domain: Any, plans: list[Any]) -> dict[str, float]:
    """Shares of plans that arrive, and do so without touching a wall, and their length over the shortest."""
    rows = domain.evaluate(plans)
    return {name: float(rows[name]) for name in ("free", "success", "clean", "ratio")}


def maze(name: str, seed: int) -> dict[str, float]:
    """Figures of a maze on the same hundred pairs of start and goal."""
    from guidekit.domains.trajectories import drive

    domain: Any = gk.load_domain("trajectories", maze=name)
    prior = domain.load_prior()
    ends = domain.ground.random_pairs(PAIRS, np.random.default_rng(1000 + seed))
    condition = prior.between(ends[:, 0], ends[:, 1])
    walls = gk.guidance.PathGuidance(domain.rewards["clearance"])
    best = gk.chain(walls, gk.guidance.BestOfN(domain.rewards["executed"], 4))
    found = {}
    for kind, guidance in (("unguided", None), ("guided", walls), ("best of 4", best)):
        plans = gk.sample(prior, guidance, PAIRS, STEPS, seed, condition=condition).objects()
        found |= {f"{name}: {kind}, {key}": value for key, value in judged(domain, plans).items()}
    for kind, guidance in (("unguided", None), ("guided", walls)):
        driven = drive(prior, ends[:, 0], ends[:, 1], guidance, seed=seed, steps=STEPS)
        found[f"{name}: {kind}, replanned, success"] = float(driven.arrived().mean())
        found[f"{name}: {kind}, replanned, clean"] = float((driven.arrived() & ~driven.touched).mean())
    return found


def measure(seed: int) -> dict[str, float]:
    """All mazes that have a prior."""
    return {key: value for name in MAZES for key, value in maze(name, seed).items()}


def checks() -> tuple[Check, ...]:
    """Those of every maze."""
    made = []
    for name, (plain, guided) in MAZES.items():
        for kind, figure, least, most in (
            ("unguided", "success", plain, None),
            ("guided", "success", guided, None),
            ("best of 4", "success", 1.0, None),
            ("best of 4", "clean", 0.96, None),
            ("best of 4", "ratio", None, 1.10),
            ("guided, replanned", "success", 0.99, None),
        ):
            words = f"{name}: {kind}, {figure}"
            made.append(Check(words, words, least=least, most=most, by="mean"))
    return tuple(made)


CLAIM = Claim(
    row="E64",
    method="Diffuser",
    provides=("guidance.PathGuidance", "networks.TemporalUNet"),
    tier="",
    says="Executed by a controller on 100 pairs of start and goal a seed, a ball arrives within .3 cells and stays: U"
    " 98 and medium 96 % of the time with unguided plans, 99 and 98 % with one plan and the cost of walls, always with"
    " the best of 4, of which 96 % touch no wall and whose length is at most 1.10 of the shortest way; replanned"
    " every 20 control steps, 99 %. The seeds are of pairs and plans; each prior was trained once.",
    domains=("trajectories",),
    checks=checks(),
    measure=measure,
    oracles=("tests/oracles/test_path_guidance.py::test_the_last_estimate_moves_by_smoothed_steps",),
    longer="three training seeds, the large and the giant maze: two hours of a core",
)
