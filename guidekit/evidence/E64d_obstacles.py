"""Row E64: an obstacle on the way that no plan was trained with: guided, the best of eight, repaired."""

from __future__ import annotations

from typing import Any

import numpy as np

import guidekit as gk
from guidekit.domains.trajectories import metrics
from guidekit.domains.trajectories.detours import detour
from guidekit.domains.trajectories.mazes import RADIUS, evenly, least_clearance
from guidekit.domains.trajectories.routes import Roadmap
from guidekit.evidence.claim import Check, Claim

SCENES, STEPS = 40, 15


def scenes(seed: int) -> list[tuple[np.ndarray, Any]]:
    """Ends (2, 2) and the domain of the U maze with a disc on the shortest way, around which there is one."""
    ground: Any = gk.load_domain("trajectories", maze="u")
    generator, roadmap = np.random.default_rng(seed), Roadmap(ground.ground)
    found: list[tuple[np.ndarray, Any]] = []
    while len(found) < SCENES:
        ends = ground.ground.random_pairs(1, generator, apart=1.5)[0]
        route = roadmap.routes(ends[:1], ends[1:])[0]
        way = evenly(np.concatenate([ends[:1], roadmap.nodes[route].reshape(-1, 2), ends[1:]]), 100)
        disc = [*way[generator.integers(30, 70)], generator.uniform(0.15, 0.25)]
        if np.linalg.norm(ends - disc[:2], axis=1).min() < disc[2] + 0.5:
            continue
        domain: Any = gk.load_domain("trajectories", maze="u", obstacles=[disc])
        if detour(domain.ground, ends[0], ends[1]) is not None:
            found.append((ends, domain))
    return found


def measure(seed: int) -> dict[str, float]:
    """Shares of plans that collide, of runs that touch something, and of those that arrive."""
    counts: dict[str, list[float]] = {}
    for number, (ends, domain) in enumerate(scenes(seed)):
        prior = domain.load_prior()
        walls = gk.guidance.PathGuidance(domain.rewards["clearance"], iterations=8)
        best = gk.chain(walls, gk.guidance.BestOfN(domain.rewards["executed"], 8))
        kinds = {
            "unguided": None,
            "guided": walls,
            "best of 8": best,
            "repaired": gk.chain(walls, gk.guidance.Repair()),
        }
        condition = prior.between(ends[:1], ends[1:])
        for kind, guidance in kinds.items():
            made = gk.sample(prior, guidance, 1, STEPS, 1000 * seed + number, condition=condition)
            path = prior.codec.cells(made.samples.double()).numpy()
            run = metrics.executed(domain.ground, list(path))
            figures = {
                "collide": float(least_clearance(path, domain.ground.distance)[0] < RADIUS),
                "touch": float(run.touched[0]),
                "arrive": float(metrics.arrived(run, path[:, -1], 0.3)[0]),
            }
            for name, value in figures.items():
                counts.setdefault(f"{kind}, {name}", []).append(value)
    return {name: float(np.mean(values)) for name, values in counts.items()}


CLAIM = Claim(
    row="E64",
    method="Diffuser, plans around obstacles that were never seen",
    provides=("guidance.Repair",),
    tier="",
    says="A disc stands on the shortest way through the U maze, which no demonstration knows, with a gap for the ball:"
    " runs of one guided plan touch something at most 28 % of the time, of the best of 8 at most 3 %, of a repaired"
    " plan never.",
    domains=("trajectories",),
    checks=(
        Check("unguided, touch", "unguided, touch", least=0.8, by="mean"),
        Check("guided, touch", "guided, touch", most=0.28, by="mean"),
        Check("best of 8, touch", "best of 8, touch", most=0.03, by="mean"),
        Check("repaired, touch", "repaired, touch", most=0.0, by="mean"),
        Check("repaired, collide", "repaired, collide", most=0.0, by="mean"),
    ),
    measure=measure,
    oracles=("tests/trajectories/test_obstacles.py::test_repair_keeps_what_is_clear_and_both_ends",),
    longer="scenes in larger mazes",
)
