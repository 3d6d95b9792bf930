"""A prior: a noise process, a denoiser for it, and how it was made."""

from __future__ import annotations

from typing import Any

import torch

from guidekit.core.generators import Draw
from guidekit.core.guidance import GuidanceError
from guidekit.core.population import Time
from guidekit.core.predictions import Prediction
from guidekit.core.state import State, tree_batch
from guidekit.processes import DiscreteProcess, GaussianProcess, ReflectedProcess


class Prior:
    """Base of all priors; subclasses set the attributes and implement `predict`.

    Attributes:
        name: for messages and records.
        process: how clean states were noised.
        event_shape: shape S of one state without the batch.
        null_condition: what stands for "no condition", one row without the batch; None when the prior takes none.
        time_independent: True where the prediction depends on the state alone, so unchanged states keep their answer.
        network_batch: most states in one network call, None for no limit.
        card: how it was made (data, steps, hardware, metrics).
    """

    name: str = "prior"
    process: GaussianProcess | ReflectedProcess | DiscreteProcess
    event_shape: tuple[int, ...]
    null_condition: State | None = None
    time_independent: bool = False
    network_batch: int | None = None
    card: dict = {}

    def predict(self, x: State, t: Time, condition: State | None = None) -> Prediction:
        """Belief about the clean state of x (B, *S) at t (number or (B,)); condition None is unconditional."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement predict(x, t, condition)")

    def condition(self, value: Any) -> State | None:
        """A condition from what users write (a number, a name, a mapping).

        Raises:
            ValueError: there is no such condition; a `GuidanceError` where the prior takes none at all.
        """
        if value is not None and self.null_condition is None:
            raise GuidanceError(
                f"a condition was given, but this prior ({self.name}) was made without conditions; leave condition= out"
            )
        return value

    def network_rows(self, x: State) -> int:
        """How many of the states x the network has to look at; the others' answers are known without it."""
        return tree_batch(x)

    def start(self, draw: Draw, rows: int) -> State:
        """States at t = 1, (rows, *S)."""
        return self.process.sample_limit(draw, (rows, *self.event_shape))

    def to(self, device: torch.device | str) -> Prior:
        """The prior with its tensors on another device."""
        return self
