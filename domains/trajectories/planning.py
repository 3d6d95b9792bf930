"""Receding horizon: plan, run a little, plan again from where the ball is."""

from __future__ import annotations

import dataclasses

import numpy as np

from guidekit.core.guidance import Guidance
from guidekit.core.sampler import Sampler
from guidekit.sampling import sample

from .mazes import evenly, lengths
from .metrics import FINE, STAY
from .prior import PathPrior
from .tracking import World, track

NEAR = 1.5
"""Cells: a plan that is no longer than this is run to its end. Replanning so near a goal dithers about it."""
MOST = 1200
"""Control steps after which a ball that has not come near its goal is given up: a minute."""


@dataclasses.dataclass(frozen=True)
class Drive:
    """What was run, ball by ball.

    Args:
        positions: (T + 1, 2) each, in cells.
        touched: (B,) bool, whether a wall was touched.
        plans: of each ball, (control step, path (K, 2)) in order; the last one was run to its end.
        goals: (B, 2).
    """

    positions: list[np.ndarray]
    touched: np.ndarray
    plans: list[list[tuple[int, np.ndarray]]]
    goals: np.ndarray

    def arrived(self, radius: float = 0.3) -> np.ndarray:
        """Whether each ball was within the radius of its goal for its last control steps, (B,)."""
        ends = [
            np.linalg.norm(run[-STAY:] - goal, axis=-1) for run, goal in zip(self.positions, self.goals, strict=True)
        ]
        return np.array([bool((end < radius).all()) for end in ends])

    @property
    def lengths(self) -> np.ndarray:
        """Cells run until a ball first came within .1 cells of its goal, (B,)."""
        found = []
        for run, goal in zip(self.positions, self.goals, strict=True):
            near = np.linalg.norm(run - goal, axis=-1) < 0.1
            found.append(lengths(run[None, : int(near.argmax()) + 1 if near.any() else len(run)])[0])
        return np.array(found)


def drive(
    prior: PathPrior,
    starts: np.ndarray,
    goals: np.ndarray,
    guidance: Guidance | None = None,
    *,
    every: int | None = 20,
    near: float = NEAR,
    world: World | None = None,
    seed: int = 0,
    steps: int = 20,
    sampler: Sampler | str | None = None,
    speed: float = 1.8,
) -> Drive:
    """Drive balls from starts to goals (B, 2), from rest, planning anew every so many control steps.

    Args:
        prior: of paths that are told start and goal.
        starts, goals: in cells.
        guidance: of the plans.
        every: control steps from plan to plan; None plans once (open loop).
        near: a plan that is no longer than this, in cells, is run to its end.
        world: what is run in; None is the prior's maze.
        seed: of the first plans; the next ones have the next seeds.
        steps, sampler: of the plans, see `guidekit.sample`.
        speed: wanted, cells / s.

    Raises:
        MazeError: a start or goal in a wall, or a goal that cannot be reached.
        ValueError: every is below 1.
    """
    if every is not None and every < 1:
        raise ValueError(f"every={every}; at least one control step from plan to plan is needed, or null")
    place: World = prior.codec.maze if world is None else world
    position, velocity = np.array(starts, float), np.zeros((len(starts), 2))
    goals = np.array(goals, float)
    runs: list[list[np.ndarray]] = [[each[None].copy()] for each in position]
    plans: list[list[tuple[int, np.ndarray]]] = [[] for _ in position]
    touched, rows, now = np.zeros(len(position), bool), np.arange(len(position)), 0
    while len(rows):
        made = planned(prior, position[rows], velocity[rows], goals[rows], guidance, seed, steps, sampler)
        seed += 1
        for row, path in zip(rows, made, strict=True):
            plans[row].append((now, path))
        short = np.array([lengths(path[None])[0] <= near for path in made])
        last = short | (every is None or now + 2 * every > MOST)
        for these, steps_run in ((rows[last], None), (rows[~last], every)):
            if not len(these):
                continue
            paths = np.stack([evenly(plans[row][-1][1], FINE) for row in these])
            run = track(place, paths, speed=speed, steps=steps_run, position=position[these], velocity=velocity[these])
            for row, positions, end in zip(these, run.positions, run.ends, strict=True):
                runs[row].append(positions[1 : end + 1])
            position[these], velocity[these] = run.positions[:, -1], run.velocities[:, -1]
            touched[these] |= run.touched
        rows, now = rows[~last], now + (every or 0)
    return Drive([np.concatenate(run) for run in runs], touched, plans, goals)


def planned(
    prior: PathPrior,
    starts: np.ndarray,
    velocities: np.ndarray,
    goals: np.ndarray,
    guidance: Guidance | None,
    seed: int,
    steps: int,
    sampler: Sampler | str | None,
) -> list[np.ndarray]:
    """One plan for each pair, (n, 2) in cells, also where it leaves the maze."""
    conditions = prior.between(starts, goals, velocities)
    found = sample(prior, guidance, len(starts), steps, seed, sampler, condition=conditions)
    return prior.codec.ways(found.samples)
