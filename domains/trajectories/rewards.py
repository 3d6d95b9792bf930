"""Rewards of paths: of states and with a gradient, but for what happens to the ball; higher is better."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError

from .codec import PathCodec
from .mazes import lengths
from .metrics import arrived, executed

BETWEEN = 3
"""Points a segment at which walls are looked for."""


class PathReward(Objective[None]):
    """Base: a reward of clean paths; a subclass has `values` of points in cells and a `name`."""

    differentiable = True
    floor = None
    codec: PathCodec | None = None
    curvature: float | None = None
    """About the largest one of it, per squared cell, for steps along its gradient."""

    @property
    def rate(self) -> float | None:  # type: ignore[override]
        """See `Objective.rate`."""
        if self.curvature is None or self.codec is None:
            return None
        return 1 / (self.curvature * self.codec.scale**2)

    def values(self, points: Tensor) -> Tensor:
        """Rewards (B,) of paths (B, K, 2) in cells."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement values")

    def scores(self, states: Tensor, t: Number, rows: None) -> Tensor:
        """See `Objective.scores`."""
        assert self.codec is not None, "made by the domain, which knows the maze"
        return self.values(self.codec.cells(states))

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: paths through the same maze."""
        mine, theirs = self.codec, getattr(prior.codec, "maze", None)
        if mine is not None and getattr(theirs, "rows", None) != mine.maze.rows:
            raise GuidanceError(
                f"reward {self.name} is of paths through maze {mine.maze.name}, which are none of this prior "
                f"({prior.name}); choose domain.maze= of the prior"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Clearance(PathReward):
    """Minus the sum over a path of max(margin - d, 0)^2, d the distance to walls; 0 is clear everywhere.

    Args:
        margin: cells; .17 with a ball of .1, for what the network and the controller are off.
        disc: (x, y, radius) of an obstacle that is on no map, in cells; None is none.
        codec: of the paths.
    """

    margin: float = 0.17
    disc: tuple[float, float, float] | None = None
    codec: PathCodec | None = None
    name: ClassVar[str] = "clearance"
    temperature = 0.01
    curvature = 0.85  # a path that touches the margin in one point is moved clear of it by about one smoothed step

    def __post_init__(self) -> None:
        """Refuse a margin or a disc that is none."""
        if not 0 < self.margin <= 0.5:
            raise ValueError(f"margin must be above 0 and at most .5 cells, got {self.margin}")
        if self.disc is not None and (len(self.disc) != 3 or not self.disc[2] > 0):
            raise ValueError(f"disc={list(self.disc)}; x, y and a radius above 0 are expected, in cells")

    def values(self, points: Tensor) -> Tensor:
        """See the class."""
        share = torch.arange(BETWEEN).to(points)[:, None] / BETWEEN
        inner = torch.lerp(points[:, :-1, None], points[:, 1:, None], share).flatten(1, 2)
        assert self.codec is not None
        distance = self.codec.maze.clearance(inner)
        if self.disc is not None:
            x, y, radius = self.disc
            distance = torch.minimum(distance, (inner - points.new_tensor([x, y])).norm(dim=-1) - radius)
        return -(self.margin - distance).clamp_min(0).square().sum(1) / BETWEEN


@dataclasses.dataclass(frozen=True, eq=False)
class Shortness(PathReward):
    """Minus the length of a path in cells."""

    codec: PathCodec | None = None
    name: ClassVar[str] = "shortness"
    temperature = 0.5
    curvature = 30.0  # 2 over the length of a segment

    def values(self, points: Tensor) -> Tensor:
        """See the class."""
        return -points.diff(dim=1).square().sum(-1).add(1e-12).sqrt().sum(1)


@dataclasses.dataclass(frozen=True, eq=False)
class Smoothness(PathReward):
    """Minus the sum of squared second differences of a path, times its number of knots; 0 is straight and even."""

    codec: PathCodec | None = None
    name: ClassVar[str] = "smoothness"
    temperature = 0.5

    @property
    def curvature(self) -> float | None:  # type: ignore[override]
        """Twice the number of knots times the square of the largest factor of a second difference."""
        return None if self.codec is None else 32.0 * self.codec.knots

    def values(self, points: Tensor) -> Tensor:
        """See the class."""
        return -points.shape[1] * points.diff(n=2, dim=1).square().sum((1, 2))


@dataclasses.dataclass(frozen=True, eq=False)
class Gentleness(PathReward):
    """Minus the mean of max(v^2 k / a - 1, 0)^2 over the knots: how far turns ask for more than an acceleration.

    k is the curvature of the path in 1 / cells, and v^2 k what a turn asks for at speed v.

    Args:
        speed: v, cells / s.
        acceleration: a, cells / s^2.
        codec: of the paths.
    """

    speed: float = 1.8
    acceleration: float = 4.0
    codec: PathCodec | None = None
    name: ClassVar[str] = "gentleness"
    temperature = 0.05
    curvature = 5000.0  # at knots a twelfth of a cell apart

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        if not self.speed > 0 or not self.acceleration > 0:
            raise ValueError(f"speed={self.speed}, acceleration={self.acceleration}; numbers above 0 are expected")

    def values(self, points: Tensor) -> Tensor:
        """See the class."""
        apart = points.diff(dim=1).square().sum(-1).add(1e-12).sqrt().mean(1, keepdim=True)
        bend = points.diff(n=2, dim=1).square().sum(-1).add(1e-12).sqrt() / apart.clamp_min(1e-3).square()
        return -(self.speed**2 * bend / self.acceleration - 1).clamp_min(0).square().mean(1)


@dataclasses.dataclass(frozen=True, eq=False)
class Through(PathReward):
    """Minus the squared distance, in cells, of the path to a point that it shall pass, wherever along it.

    Args:
        point: (x, y) in cells.
        codec: of the paths.
    """

    point: tuple[float, float]
    codec: PathCodec | None = None
    name: ClassVar[str] = "through"
    temperature = 0.1
    curvature = 2.0

    def __post_init__(self) -> None:
        """Refuse a point in a wall."""
        if len(self.point) != 2:
            raise ValueError(f"point={list(self.point)}; [x, y] in cells is expected")
        if self.codec is not None:
            self.codec.maze.check(np.array(self.point), "point")

    def values(self, points: Tensor) -> Tensor:
        """See the class."""
        return -(points - points.new_tensor(self.point)).square().sum(-1).min(1).values


@dataclasses.dataclass(frozen=True, eq=False)
class Executed(PathReward):
    """What comes of a path under the controller, a black box: 1 for arriving, .5 less where a wall was touched.

    A hundredth is taken off for every cell of length, so that of two that arrive the shorter is better.

    Args:
        radius: cells from the goal within which it has arrived, and stayed.
        codec: of the paths.
    """

    radius: float = 0.3
    codec: PathCodec | None = None
    name: ClassVar[str] = "executed"
    differentiable = False
    temperature = 0.1

    def values(self, points: Tensor) -> Tensor:
        """See the class."""
        assert self.codec is not None
        inside = np.clip(np.nan_to_num(points.detach().double().cpu().numpy()), 0, self.codec.maze.size)
        paths = [self.codec.way(path) for path in inside]
        run, ends = executed(self.codec.maze, paths), inside[:, -1]
        found = arrived(run, ends, self.radius) - 0.5 * run.touched
        found = found - 0.01 * np.array([lengths(path[None])[0] for path in paths])
        return torch.from_numpy(found).to(points)


REWARDS: dict[str, Any] = {
    reward.name: reward for reward in (Clearance, Shortness, Smoothness, Gentleness, Through, Executed)
}
"""By name."""
