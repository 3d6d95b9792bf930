"""Paths (K, 2) in cells of a maze <-> states (B, 2, K) of unit size."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .detours import LOOKED, repaired
from .mazes import Maze, evenly, least_clearance


class PathError(ValueError):
    """An array is no path; the message says what it is and what was expected."""


@dataclasses.dataclass(frozen=True)
class PathCodec:
    """The codec of a prior of paths through a maze.

    Args:
        maze: whose cells are the unit of points; its center is 0 and half its longer side 1.
        knots: K, points of a path, equally spaced along its length.
    """

    maze: Maze
    knots: int

    @property
    def language(self) -> str:
        """What a state's numbers are."""
        return f"{self.knots} knots of paths through maze {self.maze.name}, {' '.join(self.maze.rows)}"

    @property
    def center(self) -> np.ndarray:
        """Of the maze, in cells, (2,)."""
        return np.array(self.maze.size) / 2

    @property
    def scale(self) -> float:
        """Cells of one unit of states."""
        return max(self.maze.size) / 2

    def unit(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in cells, in the unit of states."""
        return (np.asarray(points, dtype=float) - self.center) / self.scale

    def cells(self, states: Tensor) -> Tensor:
        """Points (B, K, 2) in cells of states (B, 2 or more, K), differentiable."""
        return states[:, :2].transpose(1, 2) * self.scale + states.new_tensor(self.center)

    def way(self, points: np.ndarray) -> np.ndarray:
        """The way (n, 2) that is run where a plan has points (K, 2): all of them."""
        return points

    def ways(self, states: Tensor) -> list[np.ndarray]:
        """The way (n, 2) in cells of each state (B, 2, K), also where it leaves the maze."""
        return [self.way(points) for points in self.cells(states.detach().double().cpu()).numpy()]

    def encode(self, objects: Sequence[np.ndarray]) -> Tensor:
        """States (B, 2, K) float32 of paths, each resampled to K knots unless it has K points.

        Raises:
            PathError: no path, with fewer than two points, or with numbers that are not finite.
        """
        made = []
        for number, path in enumerate(objects):
            points = np.asarray(path, dtype=float)
            if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.isfinite(points).all():
                raise PathError(
                    f"path {number} has shape {points.shape}"
                    + ("" if np.isfinite(points).all() else " and numbers that are not finite")
                    + "; (points, 2) with at least two finite points is expected"
                )
            made.append(self.unit(points if len(points) == self.knots else evenly(points, self.knots)).T)
        return torch.from_numpy(np.stack(made)).float()

    def repaired(self, states: Tensor) -> tuple[Tensor, list[bool], list[bool]]:
        """States (B, 2, K) with detours where paths run too near to walls or obstacles, for `Repair`.

        Returns:
            the states, which of them were too near, and which still are because there is no way.
        """
        paths = self.cells(states.detach().double().cpu()).numpy()
        new, before, after = states.clone(), [], []
        for row, path in enumerate(paths):
            broken = not np.isfinite(path).all() or least_clearance(path[None], self.maze.distance)[0] < LOOKED
            before.append(bool(broken))
            after.append(False)
            if broken and np.isfinite(path[[0, -1]]).all():
                path = np.where(np.isfinite(path), path, path[0])
                mended, clear = repaired(self.maze, path)
                new[row], after[row] = torch.from_numpy(self.unit(mended).T).to(new), not clear
        return new, before, after

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """Paths (K, 2) in cells, None where a number is not finite or the path leaves the maze.

        Raises:
            PathError: states of another shape.
        """
        if tuple(states.shape[1:]) != (2, self.knots):
            raise PathError(f"states have shape {tuple(states.shape)}; (B, 2, {self.knots}) is expected")
        paths = self.cells(states.detach().double().cpu()).numpy()
        inside = (np.isfinite(paths) & (paths >= 0) & (paths <= np.array(self.maze.size))).all((1, 2))
        return [path if good else None for path, good in zip(paths, inside, strict=True)]
