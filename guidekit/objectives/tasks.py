"""Tasks: what was measured of an object, and how a result is judged.

States are (B, *S); measurements of tasks have the same shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from guidekit.errors import UnknownNameError
from guidekit.objectives.operators.base import Operator


@dataclasses.dataclass(frozen=True)
class Task:
    """A named operator and what its result is judged on.

    Args:
        name: as users know it.
        operator: see the module.
        gap: bool, broadcasts against states: what is to be made up; None where no part is missing as a whole.
        blank: value of states where there is nothing (silence); signals are differences from it.
        join: (one (1, *S), another (1, *S)) -> (1, *S), for tasks on two objects; None for those on one.
        start: time in (0, 1] at which sampling starts, from the noised object; 1 is noise alone.

    Raises:
        ValueError: a start outside (0, 1].
    """

    name: str
    operator: Operator
    gap: Tensor | None = None
    blank: float = 0.0
    join: Callable[[Tensor, Tensor], Tensor] | None = None
    start: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a start that is none."""
        if not 0 < self.start <= 1:
            raise ValueError(f"task {self.name}: start={self.start}; a time above 0 and at most 1 is expected")

    def judge(self, x: Tensor, y: Tensor, truth: Tensor | None = None) -> dict[str, Tensor]:
        """Numbers (B,) of results x for measurements y: what was measured, and the truth where it is known.

        Returns:
            misfit: root-mean-square of y - A x; consistency: see `Operator.violation`; snr: dB over all;
            snr_gap: in the gap.
        """
        found = {"misfit": (y - self.operator.forward(x)).square().flatten(1).mean(1).sqrt()}
        violation = self.operator.violation(x, y)
        if violation is not None:
            found["consistency"] = violation
        if truth is not None:
            found["snr"] = signal_to_noise(x, truth, blank=self.blank)
            if self.gap is not None:
                found["snr_gap"] = signal_to_noise(x, truth, self.gap, self.blank)
        return found

    def shown(self, y: Tensor) -> Tensor:
        """Measurements (B, *S) as states, with nothing in the gap."""
        return y if self.gap is None else torch.where(self.gap.to(y.device), self.blank, y)


def make(
    tasks: Mapping[str, Callable[..., Task]], name: str, shape: tuple[int, ...], options: Mapping[str, Any]
) -> Task:
    """A task by name for states of a shape (without the batch).

    Args:
        tasks: functions (shape, options) -> task, by name.
        name: of the task.
        shape: S.
        options: of the function.

    Raises:
        UnknownNameError: no such task.
        ValueError: options outside their ranges, or a kind of state it is not for.
    """
    if name not in tasks:
        raise UnknownNameError("task", str(name), tasks)
    try:
        return tasks[name](tuple(shape), **options)
    except TypeError as error:
        raise ValueError(f"task {name}: {error}") from error


def observe(x: Tensor, task: Task, noise_std: float = 0.0, seed: int = 0) -> Tensor:
    """Measurements (B, *S) of states x, with Gaussian noise (std in the unit of states) where something is measured."""
    y = task.operator.forward(x)
    if not noise_std:
        return y
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(y)
    return y + noise_std * (task.operator.forward(noise) if task.operator.linear else noise)


def signal_to_noise(x: Tensor, truth: Tensor, where: Tensor | None = None, blank: float = 0.0) -> Tensor:
    """10 log10 |truth - blank|^2 / |x - truth|^2 in dB (B,), of states (B, *S) or part of them.

    Nothing but `blank` has 0 dB; infinite where x is the truth.
    """
    part = torch.ones_like(truth) if where is None else where.to(truth).expand_as(truth)
    signal, error = (((one * part).square()).flatten(1).sum(1).double() for one in (truth - blank, x - truth))
    return 10 * (signal / error).log10()
