"""Row 17: plans of cells that an obstacle cuts off are repaired without gradients; forbidden words leave DNA."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

import guidekit as gk
from guidekit.domains.trajectories import metrics
from guidekit.domains.trajectories.cell_prior import CellPrior
from guidekit.domains.trajectories.cells import CellCodec, Passable
from guidekit.domains.trajectories.mazes import evenly
from guidekit.domains.trajectories.obstacles import Obstructed
from guidekit.domains.trajectories.routes import Roadmap
from guidekit.evidence.claim import Check, Claim
from guidekit.installed import load_domain
from guidekit.processes.automata import log_normalizer

SCENES, PLANS, STEPS = 12, 4, 8
WORDS = ["EcoRI", "GATC"]


def scenes(prior: CellPrior, seed: int) -> list[tuple[dict[str, list[float]], CellCodec]]:
    """Starts, goals and mazes in which a box fills a cell of the shortest way, while another way of at most L cells is.

    What is blocked was free in training.
    """
    ground, generator = prior.codec.maze, np.random.default_rng(seed)
    roadmap = Roadmap(ground, offset=0.2, room=0.1)
    found: list[tuple[dict[str, list[float]], CellCodec]] = []
    while len(found) < SCENES:
        ends = ground.random_pairs(1, generator)[0]
        route = roadmap.routes(ends[:1], ends[1:])[0]
        if route is None:
            continue
        way = evenly(np.concatenate([ends[:1], roadmap.nodes[route].reshape(-1, 2), ends[1:]]), 100)
        x, y = np.floor(way[generator.integers(25, 75)])
        if np.linalg.norm(ends - [x + 0.5, y + 0.5], axis=1).min() < 1.0:
            continue
        world = Obstructed(ground.name, ground.rows, ((x, y, x + 1, y + 1),))
        codec = dataclasses.replace(prior.codec, maze=world)
        rule = codec.automaton.without([codec.id_at([x + 0.5, y + 0.5])])
        law = torch.zeros(1, codec.length, len(ground.cells)).log_softmax(-1)
        for place, point in ((0, ends[0]), (-1, ends[1])):
            law[0, place] = torch.nn.functional.one_hot(torch.tensor(codec.id_at(point)), law.shape[-1]).float().log()
        if log_normalizer(rule, law).isfinite():
            found.append(({"start": ends[0].tolist(), "goal": ends[1].tolist()}, codec))
    return found


def plans(seed: int) -> dict[str, float]:
    """Shares of plans that are cut off and of runs that touch something, before and after reflection."""
    prior: Any = load_domain("cells", maze="large").load_prior()
    counts: dict[str, list[float]] = {
        "before": [],
        "after": [],
        "touched": [],
        "arrived": [],
        "rows before": [],
        "rows after": [],
    }
    grammar = gk.guidance.Grammar(prior.codec.automaton)  # which knows the maze, not the obstacle
    for number, (ends, codec) in enumerate(scenes(prior, seed)):
        prior.codec, rule = codec, Passable(codec)
        options: dict[str, Any] = {"num_samples": PLANS, "steps": STEPS, "seed": 100 * seed + number, "condition": ends}
        free = gk.sample(prior, grammar, sampler="path_planning", **options)
        mended = gk.sample(prior, gk.chain(grammar, gk.guidance.Reflection(rule)), sampler="path_planning", **options)
        right = rule(free.samples)[0] < 0
        assert torch.equal(free.samples[right], mended.samples[right]), "a plan that was right has changed"
        counts["before"] += (~right).tolist()
        counts["after"] += (rule(mended.samples)[0] >= 0).tolist()
        for name, result in (("rows before", free), ("rows after", mended)):
            counts[name].append(result.ledger.network_rows / PLANS)
        strings = [path for path in codec.paths(mended.samples, [ends] * PLANS) if path is not None]
        if strings:
            run = metrics.executed(codec.maze, strings)
            counts["touched"] += run.touched.tolist()
            counts["arrived"] += metrics.arrived(run, np.stack([path[-1] for path in strings]), 0.3).tolist()
    return {name: float(np.mean(each)) for name, each in counts.items()}


def measure(seed: int) -> dict[str, float]:
    """Plans in mazes with an obstacle, and strings of DNA with forbidden words."""
    found = plans(seed)
    dna = load_domain("dna")
    prior, rule = dna.load_prior(), dna.verifier(WORDS)
    result = gk.sample(prior, gk.guidance.Reflection(rule), num_samples=8, steps=32, seed=seed)
    return {
        **found,
        "strings before": float(result.info["violations before"].double().mean()),
        "strings after": float(result.info["violations after"].double().mean()),
    }


CLAIM = Claim(
    row=17,
    method="ReflectDrive",
    provides=("guidance.Reflection",),
    tier="A",
    says="In a maze of 12 x 9 cells with a cell of the shortest way filled that was free in training, plans of a "
    "trained masked prior that run into it are repaired by search, pinning and sampling again, wherever a way of at "
    "most 22 cells exists; plans that are right stay; the same loop removes forbidden words from strings of DNA.",
    domains=("cells", "dna"),
    checks=(
        Check("plans cut off by the obstacle, without reflection", "before", least=0.4, by="mean"),
        Check("plans cut off by the obstacle, with reflection", "after", most=0.01, by="mean"),
        Check("runs of these plans that touch a wall or the obstacle", "touched", most=0.05, by="mean"),
        Check("runs of these plans that arrive", "arrived", least=0.98, by="mean"),
        Check("strings of DNA with a forbidden word, without reflection", "strings before", least=0.5, by="mean"),
        Check("strings of DNA with a forbidden word, with reflection", "strings after", most=0.0, by="mean"),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_reflection.py::test_pinned_tokens_never_change",
        "tests/trajectories/test_obstacles.py::test_cells_that_obstacles_cut_off_are_found",
    ),
    longer="driving data, which do not ship",
)
