"""How far the log-spectrum of a state is from a wanted one, for signals, pictures and volumes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.objectives.gaussian import per_sample

QUIET = 1e-6
"""Power a coefficient that is added before the logarithm, in squared units of the data: what is empty has a level."""


@functools.lru_cache(maxsize=32)
def rings(sizes: tuple[int, ...], bands: int) -> Tensor:
    """Which band every coefficient of a transform over axes of these sizes is in, (*sizes) int64; -1 for the mean.

    Bands are equally wide in the length of the frequency, from 0 to 1/2 cycle a sample; what lies beyond (in corners)
    is in the last.
    """
    grid = torch.meshgrid(*[torch.fft.fftfreq(size).double() for size in sizes], indexing="ij")
    length = torch.stack(grid).square().sum(0).sqrt()
    found = (length * 2 * bands).ceil().long().clamp(1, bands) - 1
    found[(0,) * len(sizes)] = -1
    return found


def log_spectrum(x: Tensor, bands: int, axes: int) -> Tensor:
    """log of the mean power of the coefficients in each band, (B, bands), over all channels; it keeps the graph.

    The transform is orthonormal: white noise of variance v has log v in every band. A circular shift changes nothing.

    Args:
        x: (B, *S).
        bands: see `rings`.
        axes: how many of the last axes are transformed.
    """
    sizes = tuple(x.shape[-axes:])
    power = torch.fft.fftn(x, dim=tuple(range(-axes, 0)), norm="ortho").abs().square()
    power = power.reshape(len(x), -1, math.prod(sizes)).mean(1)
    ring = rings(sizes, bands).flatten().to(x.device)
    counts = torch.bincount(ring[ring >= 0], minlength=bands).to(power)
    sums = power.new_zeros(len(x), bands).index_add(1, ring[ring >= 0], power[:, ring >= 0])
    return (sums / counts.clamp_min(1) + QUIET).log()


@dataclasses.dataclass(frozen=True, eq=False)
class LogSpectrum(Objective[Tensor | None]):
    """-mean_b (log P_b(x_0) - target_b)^2 over bands b of frequencies: 0 where the spectrum is the wanted one.

    What the full resolution of a measurement would show is not known, but the mean spectrum of such data is; see `of`.

    Args:
        target: log powers, (bands,), or (P, bands) for the P samples of a run.
        axes: how many of the last axes are transformed: 1 for signals, 2 for pictures.
        shape: *S of the data that the target is of; other states are refused. None takes any.

    Raises:
        ValueError: a target that is no finite vector.

    Source: the spectral term of Li et al. 2025, arXiv:2503.01187 (DifIISR), towards the mean of data.
    """

    target: Tensor
    axes: int = 2
    shape: Sequence[int] | None = None
    differentiable = True
    floor = None
    unit = "nats squared"
    temperature = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no spectrum."""
        if self.target.ndim not in (1, 2) or not bool(self.target.isfinite().all()):
            raise ValueError(f"a target is finite log powers (bands,) or (samples, bands), got {self.target.shape}")

    @classmethod
    def of(cls, states: Tensor, bands: int = 12, axes: int | None = None) -> LogSpectrum:
        """Towards the mean log-spectrum of states (n, *S) of data, which are as fine as samples are to be.

        Args:
            states: n of them.
            bands: of frequencies, at most half the shortest axis.
            axes: None is 2 where there are, behind a channel, else 1.

        Raises:
            ValueError: no states, or more bands than frequencies.
        """
        axes = min(2, max(1, states.ndim - 2)) if axes is None else axes
        if not len(states) or not 1 <= axes < states.ndim:
            raise ValueError(f"states {tuple(states.shape)} have no spectrum over {axes} axes: give (n, *S), n >= 1")
        most = min(states.shape[-axes:]) // 2
        if not 1 <= bands <= most:
            raise ValueError(f"bands={bands}; 1 to {most} fit states {tuple(states.shape[1:])}")
        return cls(log_spectrum(states, bands, axes).mean(0), axes, tuple(states.shape[1:]))

    def rows(self, samples: int) -> Tensor | None:
        """See `Objective.rows`: targets where they are one per sample."""
        return None if self.target.ndim == 1 else per_sample("the target", self.target, samples)

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: states as those of the data."""
        if self.shape is not None and tuple(prior.event_shape) != tuple(self.shape):
            raise GuidanceError(
                f"{self.name} is of the spectrum of states {tuple(self.shape)}, and those of this prior ({prior.name}) "
                f"are {tuple(prior.event_shape)}"
            )

    def scores(self, states: Tensor, t: Number, rows: Tensor | None) -> Tensor:
        """See the class, (B,)."""
        target = (self.target if rows is None else rows).to(states)
        return -(log_spectrum(states, target.shape[-1], self.axes) - target).square().mean(1)
