"""Full-waveform inversion: seismograms of a velocity model, by deepwave (extra `fwi`)."""

from __future__ import annotations

import dataclasses
import importlib
import math
from typing import Any

import torch
from torch import Tensor

from guidekit.objectives.operators.base import Operator
from guidekit.objectives.operators.shapes import fits, space


@dataclasses.dataclass(frozen=True, eq=False)
class AcousticWaves(Operator):
    """Pressure at receivers, (B, shots, receivers, samples), of the acoustic wave equation in a velocity model.

    Not linear; the gradient is deepwave's adjoint equation. Velocities outside of `limits` are cut to them, because the
    time step would be unstable or a wave would not move.

    Args:
        shape: (1, depth, width), km/s.
        spacing: of the grid, m; one number, or depth and width.
        shots, receivers: evenly spread over the width, at the depth `at` (cells).
        at: depth of shots and receivers.
        seconds: recorded.
        step: between samples, s.
        frequency: of the Ricker wavelet, Hz.
        limits: slowest and fastest velocity, km/s.

    Raises:
        ValueError: another shape, or numbers out of range.

    Source: the set-up of Zheng et al. 2025, arXiv:2503.11043 (InverseBench), which has 128 x 128 cells of 20 x 10 m, 16
    shots, 129 receivers, 1 s of samples every 1 ms, 5 Hz, and velocities of 1.5 to 4.5 km/s.
    """

    shape: tuple[int, ...]
    spacing: float | tuple[float, float] = 20.0
    shots: int = 4
    receivers: int = 32
    at: int = 1
    seconds: float = 1.0
    step: float = 0.002
    frequency: float = 5.0
    limits: tuple[float, float] = (1.0, 6.0)

    def __post_init__(self) -> None:
        """Check shape and numbers."""
        depth, width = space(self.shape, (2,), "wave propagation")
        if self.shape[0] != 1 or not 0 <= self.at < depth or not 1 <= self.shots <= width:
            raise ValueError(
                f"waves are of states (1, depth, width); these are {tuple(self.shape)}, shots at {self.at}"
            )
        if (
            not 1 <= self.receivers <= width
            or not 0 < self.step < self.seconds
            or not 0 < self.limits[0] < self.limits[1]
        ):
            raise ValueError(
                f"receivers={self.receivers}, step={self.step}, seconds={self.seconds}, limits={self.limits} do not fit"
            )

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`; models one after the other, so that none depends on its neighbors.

        Raises:
            ValueError: deepwave is not installed.
        """
        deepwave = _deepwave()
        return torch.stack([self._recorded(deepwave, one[0]) for one in fits(x, self.shape, "wave propagation")])

    def wavelet(self) -> Tensor:
        """The Ricker wavelet, (samples,) float64, its peak after 1.5 periods."""
        time = torch.arange(round(self.seconds / self.step)).double() * self.step - 1.5 / self.frequency
        squared = (math.pi * self.frequency * time).square()
        return (1 - 2 * squared) * (-squared).exp()

    def _recorded(self, deepwave: Any, model: Tensor) -> Tensor:
        shot, receiver = (_spread(count, self.shape[-1], self.at) for count in (self.shots, self.receivers))
        low, high = self.limits
        found = deepwave.scalar(
            model.clamp(low, high) * 1000,
            self.spacing,
            self.step,
            source_amplitudes=self.wavelet().to(model).expand(self.shots, 1, -1),
            source_locations=shot[:, None].to(model.device),
            receiver_locations=receiver.expand(self.shots, -1, -1).to(model.device),
            pml_freq=self.frequency,
            max_vel=1000 * high,
        )
        return found[-1]


def _spread(count: int, width: int, depth: int) -> Tensor:
    """Places (count, 2), evenly over the width."""
    columns = torch.linspace(0, width - 1, count + 2)[1:-1].round().long() if count < width else torch.arange(width)
    return torch.stack([torch.full_like(columns, depth), columns], 1)


def _deepwave() -> Any:
    try:
        return importlib.import_module("deepwave")
    except ModuleNotFoundError as error:
        raise ValueError('full-waveform inversion needs deepwave: pip install "guidekit[fwi]"') from error
