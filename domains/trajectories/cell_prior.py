"""A prior of paths as cells that is told cells they must pass: start, goal and way points are certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.prior import Time
from guidekit.errors import UnknownNameError
from guidekit.priors.tokens import TokenPrior

from .cells import CellCodec

ENDS = {"start": 0, "goal": -1}
"""Names of the places that a condition may name."""


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
        conditions = [value] if isinstance(value, Mapping) else value
        if not isinstance(conditions, Sequence) or not all(isinstance(each, Mapping) for each in conditions):
            raise ValueError(
                f"condition={value!r}; expected {{start: [x, y], goal: [x, y]}} with points in cells, or a list of them"
            )
        return torch.stack([self._row(each) for each in conditions])

    def _row(self, points: Mapping[Any, Any]) -> Tensor:
        known = torch.full(self.event_shape, -1)
        for key, point in points.items():
            try:
                at = np.array(point, dtype=float)
            except (TypeError, ValueError):
                at = np.empty(0)
            if at.shape != (2,) or not np.isfinite(at).all():
                raise ValueError(f"condition {key}: {point!r}; a point [x, y] in cells is expected")
            self.codec.maze.check(at, str(key) if key in ENDS else f"the point of place {key}")
            known[self._place(key)] = self.codec.id_at(at)
        return known

    def _place(self, key: Any) -> int:
        """The place of a cell, by name or as it is."""
        length = self.event_shape[0]
        if key in ENDS:
            return ENDS[key]
        try:
            number = int(key)
        except (TypeError, ValueError) as error:
            raise UnknownNameError("point of a path", str(key), [*ENDS, f"a place from 0 to {length - 1}"]) from error
        if not 0 <= number < length:
            raise ValueError(f"condition: there is no place {number}; a path has places 0 to {length - 1}")
        return number

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> CategoricalPrediction:
        """See `Prior.predict`."""
        if condition is None:
            return super().predict(x, t)
        known = condition >= 0
        found = super().predict(torch.where(known, condition, x), t)
        certain = F.one_hot(condition.clamp_min(0), self.process.vocab_size).to(found.log_probs).log()
        return CategoricalPrediction(torch.where(known[..., None], certain, found.log_probs), x)
