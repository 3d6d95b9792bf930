"""Row E64: an obstacle on the way that no plan was trained with: guided, the best of eight, repaired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import guidekit as gk
from guidekit.domains.trajectories import metrics
from guidekit.domains.trajectories.detours import detour
from guidekit.domains.trajectories.mazes import RADIUS, evenly, least_clearance
from guidekit.domains.trajectories.routes import Roadmap
from guidekit.evidence.claim import Check, Claim

SCENES, STEPS = 30, 15
METHOD = "Diffuser, plans clamped at start and goal, costs as guides (2205.09991)"


def disc(at: np.ndarray, generator: np.random.Generator) -> list[float]:
    """One of .15 to .25 cells, which leaves a gap for the ball."""
    return [*at, generator.uniform(0.15, 0.25)]


def box(at: np.ndarray, generator: np.random.Generator) -> list[float]:
    """The whole cell, which leaves none."""
    x, y = np.floor(at)
    return [x, y, x + 1, y + 1]


def scenes(name: str, made: Callable[..., list[float]], seed: int) -> list[tuple[np.ndarray, Any]]:
    """Ends (2, 2) and the domain of a maze with something on the shortest way, around which there is another one."""
    ground: Any = gk.load_domain("trajectories", maze=name)
    generator, roadmap = np.random.default_rng(seed), Roadmap(ground.ground)
    found: list[tuple[np.ndarray, Any]] = []
    while len(found) < SCENES:
        ends = ground.ground.random_pairs(1, generator, apart=1.5)[0]
        route = roadmap.routes(ends[:1], ends[1:])[0]
        way = evenly(np.concatenate([ends[:1], roadmap.nodes[route].reshape(-1, 2), ends[1:]]), 100)
        obstacle = made(way[generator.integers(30, 70)], generator)
        domain: Any = gk.load_domain("trajectories", maze=name, obstacles=[obstacle])
        if domain.ground.distance(ends).min() < 0.12 or np.linalg.norm(ends - obstacle[:2], axis=1).min() < 0.7:
            continue
        if detour(domain.ground, ends[0], ends[1]) is not None:
            found.append((ends, domain))
    return found


def measure(seed: int) -> dict[str, float]:
    """Shares of plans that collide, of runs that touch something, and of those that arrive."""
    return {**figures("u", disc, seed), **{f"blocked, {k}": v for k, v in figures("large", box, seed).items()}}


def figures(name: str, made: Callable[..., list[float]], seed: int) -> dict[str, float]:
    """The figures of scenes of one kind."""
    counts: dict[str, list[float]] = {}
    for number, (ends, domain) in enumerate(scenes(name, made, seed)):
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
            found = gk.sample(prior, guidance, 1, STEPS, 1000 * seed + number, condition=condition)
            path = prior.codec.cells(found.samples.double()).numpy()
            run = metrics.executed(domain.ground, list(path))
            row = {
                "collide": float(least_clearance(path, domain.ground.distance)[0] < RADIUS),
                "touch": float(run.touched[0]),
                "arrive": float(metrics.arrived(run, path[:, -1], 0.3)[0]),
            }
            for name, value in row.items():
                counts.setdefault(f"{kind}, {name}", []).append(value)
    return {name: float(np.mean(values)) for name, values in counts.items()}


CLAIM = Claim(
    row="E64",
    method=METHOD,
    provides=("guidance.PathGuidance", "networks.TemporalUNet"),
    tier="",
    says="A disc stands on the shortest way through the U maze, which no demonstration knows, with a gap for the ball:"
    " runs of one guided plan touch something at most 28 % of the time, of the best of 8 at most 3 %, of a repaired"
    " plan never. Where a cell of the shortest way through the large maze is filled, guided plans run into it, and"
    " repaired ones take another way.",
    domains=("trajectories",),
    checks=(
        Check("unguided, touch", "unguided, touch", least=0.8, by="mean"),
        Check("guided, touch", "guided, touch", most=0.28, by="mean"),
        Check("best of 8, touch", "best of 8, touch", most=0.03, by="mean"),
        Check("repaired, touch", "repaired, touch", most=0.0, by="mean"),
        Check("repaired, collide", "repaired, collide", most=0.0, by="mean"),
        Check("way blocked, guided, touch", "blocked, guided, touch", least=0.5, by="mean"),
        Check("way blocked, repaired, touch", "blocked, repaired, touch", most=0.07, by="mean"),
        Check("way blocked, repaired, arrive", "blocked, repaired, arrive", least=0.98, by="mean"),
    ),
    measure=measure,
    oracles=("tests/trajectories/test_obstacles.py::test_repair_keeps_what_is_clear_and_both_ends",),
    longer="scenes in larger mazes",
)
