"""A prior of paths that is told the points it must pass: start, goal and way points are exact at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Time
from guidekit.core.support import Given
from guidekit.priors.neural import NeuralGaussian

from .codec import PathCodec
from .named_points import conditions, located, numbered


class PathPrior(NeuralGaussian):
    """`NeuralGaussian` of paths (B, 2, K) whose condition is what is known: (B, 3, K), a mask and points.

    Known points are returned as they are, so that every step, and the finished path, passes through them. A condition
    is written {start: [x, y], goal: [x, y], 20: [x, y]} in cells; whole numbers are knots, 0 to K - 1. {pairs: 100}
    are a hundred random starts and goals, one a path.
    """

    codec: PathCodec

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.null_condition = torch.zeros(1 + self.event_shape[0], self.event_shape[-1])

    def condition(self, value: Any) -> Tensor | None:
        """The points that are known, (rows, 3, K), from what users write; a list has one condition a path.

        Raises:
            MazeError: a point in a wall or outside the maze.
            ValueError: no point, or a knot that is none.
        """
        if value is None or isinstance(value, Tensor):
            return value if value is None or value.ndim == 3 else value[None]
        if isinstance(value, Mapping) and "pairs" in value:
            return self._pairs(**value)
        return torch.stack([self._known(each) for each in conditions(value)])

    def _pairs(self, pairs: int, seed: int = 0, apart: float = 1.5, **rest: Any) -> Tensor:
        """The condition of random starts and goals, so many cells apart at least."""
        if rest or not isinstance(pairs, int) or isinstance(pairs, bool) or pairs < 1:
            raise ValueError(f"condition: {{pairs: {pairs!r}}}; a whole number, with seed and apart, is expected")
        ends = self.codec.maze.random_pairs(pairs, np.random.default_rng((seed, 1000)), apart)
        return self.between(ends[:, 0], ends[:, 1])

    def ends(self, condition: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
        """Starts and goals (B, 2) in cells of a condition (B, 3, K) that names both and nothing else.

        Raises:
            ValueError: it does not.
        """
        mask = None if condition is None else condition[:, 0] > 0
        if condition is None or mask is None or not bool(mask[:, [0, -1]].all()) or bool(mask[:, 1:-1].any()):
            raise ValueError("condition: to be driven, start and goal are needed, and nothing else is taken")
        points = self.codec.cells(condition[:, 1:].double().cpu()).numpy()
        return points[:, 0], points[:, -1]

    def _known(self, points: Mapping[Any, Any]) -> Tensor:
        known, ways = torch.zeros(1 + self.event_shape[0], self.event_shape[-1]), []
        for key, point in points.items():
            knot = numbered(key, self.event_shape[-1], "knot")
            at = located(key, point, self.codec.maze, "knot")
            known[0, knot], known[1:3, knot] = 1.0, torch.from_numpy(self.codec.unit(at))
            ways.append(at)
        for at in ways[1:]:
            self.codec.maze.check_way(ways[0], at)
        return known

    def between(self, starts: np.ndarray, goals: np.ndarray, velocities: np.ndarray | None = None) -> Tensor:
        """The condition (B, 3, K) of paths from starts to goals (B, 2), in cells; raises as `condition`.

        Velocities (B, 2), in cells / s, are for priors that know of them.
        """
        return self.condition([{"start": a, "goal": b} for a, b in zip(starts, goals, strict=True)])  # type: ignore[return-value]

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """See `Prior.predict`."""
        found = super().predict(x, t, condition)
        if condition is None:
            return found
        given = Given(condition[:, :1] > 0, condition[:, 1:])
        return GaussianPrediction(given.place(found.mean), x, found.a, found.s, given)
