"""What is measured of plans through a maze, for the claims of several mazes."""

from __future__ import annotations

from typing import Any

import numpy as np

import guidekit as gk
from guidekit.evidence.claim import Check

PAIRS, STEPS = 100, 20


def measured(name: str, seed: int) -> dict[str, float]:
    """Figures of a maze, all on the same hundred pairs of start and goal."""
    from guidekit.domains.trajectories import drive

    domain: Any = gk.load_domain("trajectories", maze=name)
    prior = domain.load_prior()
    ends = domain.ground.random_pairs(PAIRS, np.random.default_rng(1000 + seed))
    condition = prior.between(ends[:, 0], ends[:, 1])
    walls = gk.guidance.PathGuidance(domain.rewards["clearance"])
    best = gk.chain(walls, gk.guidance.BestOfN(domain.rewards["executed"], 4))
    found: dict[str, float] = {}
    for kind, guidance in (("unguided", None), ("guided", walls), ("best of 4", best)):
        plans = gk.sample(prior, guidance, PAIRS, STEPS, seed, condition=condition).objects()
        rows = domain.evaluate(plans)
        found |= {f"{kind}, {key}": float(rows[key]) for key in ("free", "success", "clean", "ratio")}
    driven = drive(prior, ends[:, 0], ends[:, 1], walls, seed=seed, steps=STEPS)
    found["guided and replanned, success"] = float(driven.arrived().mean())
    found["guided and replanned, clean"] = float((driven.arrived() & ~driven.touched).mean())
    return found


def checks(plain: float, guided: float) -> tuple[Check, ...]:
    """What is asked of a maze.

    Args:
        plain: success of unguided plans.
        guided: of one plan with the cost of walls.
    """
    bounds: list[tuple[str, float | None, float | None]] = [
        ("unguided, success", plain, None),
        ("guided, success", guided, None),
        ("best of 4, success", 1.0, None),
        ("best of 4, clean", 0.96, None),
        ("best of 4, ratio", None, 1.10),
        ("guided and replanned, success", 0.99, None),
    ]
    return tuple(Check(figure, figure, least, most, by="mean") for figure, least, most in bounds)


def says(name: str, plain: float, guided: float) -> str:
    """The claim in words."""
    return (
        f"Plans through the maze {name}, executed by a controller on 100 pairs of start and goal a seed: the ball"
        f" arrives within .3 cells and stays {plain:.0%} of the time with unguided plans, {guided:.0%} with one plan"
        " and the cost of walls, always with the best of 4, of which 96 % touch no wall and whose length is at most"
        " 1.10 of the shortest way; replanned every 20 control steps, 99 %. Seeds are of pairs and plans; the prior"
        " was trained once."
    )
