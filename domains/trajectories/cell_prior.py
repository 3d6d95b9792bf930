"""A prior of paths as cells that is told cells they must pass: start, goal and way points are certain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.prior import Time
from guidekit.priors.tokens import TokenPrior

from .cells import CellCodec
from .named_points import conditions, located, numbered


class CellPrior(TokenPrior):
    """`TokenPrior` of cells (B, L) whose condition is what is known: (B, L) ids, -1 where nothing is.

    The network is shown the known cells at every noise level, and they are certain in its prediction. A condition is
    written {start: [x, y], goal: [x, y], 5: [x, y]} in cells of the maze; whole numbers are places, 0 to L - 1.
    """

    codec: CellCodec

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.null_condition = torch.full(self.event_shape, -1)

    def condition(self, value: Any) -> Tensor | None:
        """Ids that are known, (rows, L), from what users write; a list has one condition a path.

        Raises:
            MazeError: a point in a wall or outside the maze.
            ValueError: no point, or a place that is none.
        """
        if value is None or isinstance(value, Tensor):
            return value if value is None or value.ndim == 2 else value[None]
        return torch.stack([self._row(each) for each in conditions(value)])

    def _row(self, points: Mapping[Any, Any]) -> Tensor:
        known = torch.full(self.event_shape, -1)
        for key, point in points.items():
            at = located(key, point, self.codec.maze, "place")
            known[numbered(key, self.event_shape[0], "place")] = self.codec.id_at(at)
        return known

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> CategoricalPrediction:
        """See `Prior.predict`."""
        if condition is None:
            return super().predict(x, t)
        known = condition >= 0
        found = super().predict(torch.where(known, condition, x), t)
        certain = F.one_hot(condition.clamp_min(0), self.process.vocab_size).to(found.log_probs).log()
        return CategoricalPrediction(torch.where(known[..., None], certain, found.log_probs), x)
