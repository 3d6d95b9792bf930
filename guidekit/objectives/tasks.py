"""Tasks: what was measured of an object, and how a result is judged.

Everything here is in the object's own unit (`guidekit.core.units`): values (B, *S), and measurements (B, *M) of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.errors import UnknownNameError
from guidekit.objectives.fidelity import WINDOW, peak_signal_to_noise, signal_to_noise, structural_similarity
from guidekit.objectives.gaussian import check_rows
from guidekit.objectives.operators.base import Operator


@dataclasses.dataclass(frozen=True)
class Task:
    """A named operator and what its result is judged on.

    Args:
        name: as users know it.
        operator: see the module.
        gap: bool, broadcasts against values: what is to be made up; None where no part is missing as a whole.
        blank: value where there is nothing (silence); signals are differences from it.
        join: (one (1, *S), another (1, *S)) -> (1, *S), for tasks on two objects; None for those on one.
        start: time in (0, 1] at which sampling starts, from the noised object; 1 is noise alone.
        noisy: noise is part of the task, and added to what is measured of a clean object.

    Raises:
        ValueError: a start outside (0, 1].
    """

    name: str
    operator: Operator
    gap: Tensor | None = None
    blank: float = 0.0
    join: Callable[[Tensor, Tensor], Tensor] | None = None
    start: float = 1.0
    noisy: bool = False

    def __post_init__(self) -> None:
        """Refuse a start that is none."""
        if not 0 < self.start <= 1:
            raise ValueError(f"task {self.name}: start={self.start}; a time above 0 and at most 1 is expected")

    def judge(
        self,
        x: Tensor,
        y: Tensor,
        truth: Tensor | None = None,
        noise: float | Tensor | None = None,
        size: float | None = None,
    ) -> dict[str, Tensor]:
        """Numbers (B,) of results x for measurements y: what was measured, and the truth where it is known.

        Args:
            x: values (B, *S).
            y: (B, *M), or one for all.
            truth: values (B, *S), or one for all.
            noise: standard deviation of the measurement, a number or (B,).
            size: of the scale of values, such as 1 for pixels in [0, 1].

        Returns:
            misfit: root-mean-square of y - A x; chi: norm of y - A x over that of the noise, where it is told; about 1
            for the truth of a noisy measurement; consistency: see `Operator.violation`; snr: dB over all; snr_gap: in
            the gap; psnr, and ssim of pictures, where the scale has ends.
        """
        gap = (y - self.operator.forward(x)).flatten(1).double()
        found = {"misfit": gap.square().mean(1).sqrt()}
        if noise is not None and bool((torch.as_tensor(noise) > 0).all()):
            heard = self.operator.within(_normal((8, *y.shape[1:]), 0).to(y)).flatten(1).double()
            found["chi"] = (gap.square().sum(1) / heard.square().sum(1).mean()).sqrt() / noise
        violation = self.operator.violation(x, y)
        if violation is not None:
            found["consistency"] = violation
        if truth is not None:
            truth = truth.expand_as(x)
            found["snr"] = signal_to_noise(x, truth, blank=self.blank)
            if self.gap is not None:
                found["snr_gap"] = signal_to_noise(x, truth, self.gap, self.blank)
            if size is not None:
                found["psnr"] = peak_signal_to_noise(x, truth, size)
                if x.ndim == 4 and min(x.shape[-2:]) >= WINDOW:
                    found["ssim"] = structural_similarity(x, truth, size)
        return found

    def shown(self, y: Tensor) -> Tensor:
        """Measurements (B, *S) as values, with nothing in the gap."""
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


def observe(x: Tensor, task: Task, noise_std: float | Tensor = 0.0, seed: int = 0) -> Tensor:
    """Measurements (B, *M) of values x, with noise (std in their unit, one or (B,)) where something is measured.

    Raises:
        ScoreError: the operator gives no tensor with a row for each.
    """
    y, std = task.operator.forward(x), torch.as_tensor(noise_std).to(x)
    check_rows(y, len(x))
    if not bool((std > 0).any()):
        return y
    return y + std.reshape(-1, *(1,) * (y.ndim - 1)) * task.operator.within(_normal(y.shape, seed).to(y))


def _normal(shape: Sequence[int], seed: int) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))
