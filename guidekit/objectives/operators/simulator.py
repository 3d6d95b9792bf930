"""A simulator of somebody else's as an operator: one array in, one array out, in processes of its own."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.objectives.operators.base import Operator
from guidekit.objectives.pool import TOO_LONG, Isolated


class Simulator(Operator):
    """A black box that runs in worker processes: what it hangs, crashes or exhausts costs one state, not the run.

    States on which it fails measure NaN and are counted with the reason; ensembles leave such members out. It offers no
    gradient. Rows are handed to `workers` processes as they become free.

    Args:
        function: numpy array (*S) float64 -> array (*M) of finite numbers, or one number; importable by its name, or
            picklable.
        path: "module:function" where that is its name.
        workers, timeout, memory: see `Isolated`.

    Raises:
        ValueError: see `Isolated`.

    Warns:
        UserWarning: once, at the first state on which it fails, with the place of that state and the reason.
    """

    differentiable = False

    def __init__(
        self,
        function: Callable[[Any], Any],
        path: str | None = None,
        workers: int = 1,
        timeout: float | None = 60.0,
        memory: float | None = None,
    ) -> None:
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self._isolated = Isolated(
            function, path, workers, timeout, batched=False, memory=memory, arrays=True, role="simulator"
        )
        self._ledger = Ledger()
        self._shape: tuple[int, ...] | None = None
        self._warned = False

    def spent(self) -> Ledger:
        """See `Operator.spent`."""
        return self._ledger + Ledger()

    def close(self) -> None:
        """End the processes; they are started again when needed."""
        self._isolated.close()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """What is measured of states (B, *S), (B, *M); NaN where the simulator failed.

        Raises:
            ValueError: it failed on every state that it has seen so far, so that not even M is known.
        """
        began = time.perf_counter()
        rows = x.detach().cpu().double().numpy()
        found: list[np.ndarray | None] = [None] * len(rows)
        failed: list[tuple[int, str]] = []
        for i, outcome in self._isolated.outcomes(list(rows)):
            if not isinstance(outcome, str):
                shape, numbers = outcome
                shape = shape or (1,)
                self._shape = shape if self._shape is None else self._shape
                if shape == self._shape:
                    found[i] = np.frombuffer(numbers).reshape(shape)
                    continue
                outcome = f"returned an array of shape {shape}, and one of {self._shape} before"
            failed.append((i, outcome))
            self._ledger.count_failure(outcome, outcome.startswith(TOO_LONG))
        self._ledger.reward_seconds += time.perf_counter() - began
        if self._shape is None:
            raise ValueError(f"simulator {self.__name__} {min(failed)[1]}, on all {len(rows)} states")
        if failed and not self._warned:
            self._warned = True
            first, told = min(failed)
            warnings.warn(
                f"simulator {self.__name__} {told}, on state {first + 1} of {len(rows)}; such states measure "
                "nothing and are counted",
                stacklevel=2,
            )
        empty = np.full(self._shape, math.nan)
        return torch.from_numpy(np.stack([empty if one is None else one for one in found])).to(x)


__all__ = ["Simulator"]
