"""Windows of states and actions, Diffuser's representation of a plan, beside paths of knots."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidekit.errors import UnknownNameError

from .codec import PathCodec, PathError
from .mazes import Maze
from .metrics import until_near
from .named_points import ENDS
from .prior import PathPrior
from .tracking import MOST_ACCELERATION, Execution, advance

SPEED, PUSH = 1.5, 0.5
"""Cells / s, and share of the largest acceleration, of one unit of a state: its numbers are of about one size."""


@dataclasses.dataclass(frozen=True)
class WindowCodec(PathCodec):
    """Windows (K, 6) <-> states (B, 6, K): x and y in cells, velocities in cells / s, accelerations as shares.

    Args:
        maze: see `PathCodec`.
        knots: K, equally spaced in time.
        stride: control steps (.05 s) from knot to knot. An acceleration is the mean since the last knot.
    """

    stride: int = 1

    @property
    def language(self) -> str:
        """What a state's numbers are."""
        rows = " ".join(self.maze.rows)
        return f"windows of {self.knots} states and actions, {self.stride} control steps apart, in {rows}"

    def encode(self, objects: Sequence[np.ndarray]) -> Tensor:
        """States (B, 6, K) float32 of windows.

        Raises:
            PathError: no window of K rows of six finite numbers.
        """
        made = []
        for number, given in enumerate(objects):
            window = np.asarray(given, dtype=float)
            if window.shape != (self.knots, 6) or not np.isfinite(window).all():
                raise PathError(
                    f"window {number} has shape {window.shape}; ({self.knots}, 6), all finite, is expected: "
                    "x, y, two velocities, two accelerations"
                )
            place, speed, push = self.unit(window[:, :2]), window[:, 2:4] / SPEED, window[:, 4:] / PUSH
            made.append(np.concatenate([place, speed, push], 1).T)
        return torch.from_numpy(np.stack(made)).float()

    def way(self, points: np.ndarray) -> np.ndarray:
        """See `PathCodec.way`: without the rest at the goal."""
        return until_near(points)

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """Windows (K, 6), None where a number is not finite or the ball leaves the maze.

        Raises:
            PathError: states of another shape.
        """
        if tuple(states.shape[1:]) != (6, self.knots):
            raise PathError(f"states have shape {tuple(states.shape)}; (B, 6, {self.knots}) is expected")
        states = states.detach().double().cpu()
        moves = states[:, 2:].transpose(1, 2) * states.new_tensor([SPEED, SPEED, PUSH, PUSH])
        windows = torch.cat([self.cells(states), moves], -1).numpy()
        places = windows[..., :2]
        inside = np.isfinite(windows).all((1, 2)) & ((places >= 0) & (places <= np.array(self.maze.size))).all((1, 2))
        return [window if good else None for window, good in zip(windows, inside, strict=True)]

    def repaired(self, states: Tensor) -> tuple[Tensor, list[bool], list[bool]]:
        """See `PathCodec.repaired`: detours have no times.

        Raises:
            PathError: always.
        """
        raise PathError("guidance=repair is for paths: a detour has no velocities; choose a prior of paths")


class WindowPrior(PathPrior):
    """`PathPrior` of windows (B, 6, K): start and goal are known at rest, (B, 7, K)."""

    codec: WindowCodec

    def between(self, starts: np.ndarray, goals: np.ndarray, velocities: np.ndarray | None = None) -> Tensor:
        """See `PathPrior.between`; velocities (B, 2) at the start are told too."""
        known = super().between(starts, goals)
        if velocities is not None:
            known[:, 3:5, 0] = torch.from_numpy(velocities / SPEED).to(known)
        return known

    def _known(self, points: Mapping[Any, Any]) -> Tensor:
        for key in points:
            if key not in ENDS:
                raise UnknownNameError("point of a window, which knows its ends only", str(key), list(ENDS))
        return super()._known(points)


def acted(maze: Maze, windows: Sequence[np.ndarray], stride: int) -> Execution:
    """What happens to balls that are pushed by the accelerations of windows (K, 6), without looking where they are."""
    whole = np.stack([np.asarray(each, float) for each in windows])
    position, velocity = whole[:, 0, :2].copy(), whole[:, 0, 2:4].copy()
    pushes = whole[:, 1:, 4:].repeat(stride, 1)
    positions, velocities, touched = [position], [velocity], np.zeros(len(whole), bool)
    for push in pushes.transpose(1, 0, 2):
        position, velocity, hit = advance(maze, position, velocity, push * MOST_ACCELERATION)
        touched |= hit
        positions.append(position)
        velocities.append(velocity)
    ends = np.full(len(whole), pushes.shape[1])
    return Execution(np.stack(positions, 1), np.stack(velocities, 1), pushes, touched, ends)
