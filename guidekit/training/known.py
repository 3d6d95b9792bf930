"""Loss of priors that are told some points of a sequence: which are known is drawn anew for every sample."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from guidekit.core.state import column
from guidekit.training.regression import DenoisingError


@dataclasses.dataclass(frozen=True)
class KnownPoints:
    """The squared error of the points (B, C, T) that are not known, mean over them.

    Args:
        loss: plain loss.
        ends: probability with which each end is known.
        others: share of the samples in which others are known as well, up to a tenth of them.
        cut: share of the samples that are a random stretch of a path, resampled to its number of points.

    Raises:
        ValueError: a share outside [0, 1].
    """

    loss: DenoisingError
    ends: float = 0.95
    others: float = 0.2
    cut: float = 0.5

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        for name in ("ends", "others", "cut"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")

    def __call__(
        self, network: nn.Module, x0: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Loss (B,) for clean sequences (B, C, T)."""
        x0 = stretched(x0, self.cut, generator)
        mask = self.drawn(x0, generator)
        noisy = self.loss.noise(x0, generator)
        mean = self.loss.mean(network, noisy, torch.cat([mask, x0 * mask], 1))
        mean, share = torch.where(mask > 0, x0, mean), (1 - mask).mean((1, 2)).clamp_min(1e-6)
        return self.loss.error(mean, x0, noisy) / share

    def drawn(self, x0: Tensor, generator: torch.Generator | None) -> Tensor:
        """Which points are known, (B, 1, T) of 0 and 1."""
        count, _, length = x0.shape

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=x0.device)

        known = uniform(count, length) < 0.1 * uniform(count, 1)
        known &= uniform(count, 1) < self.others
        known[:, [0, -1]] |= uniform(count, 2) < self.ends
        return known[:, None].to(x0)


def stretched(x0: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Sequences (B, C, T), a share of them replaced by a random stretch (at least 4 % long) at as many points."""
    count, _, length = x0.shape
    ends = torch.rand(count, 2, generator=generator, device=x0.device).sort(1).values
    chosen = (torch.rand(count, generator=generator, device=x0.device) < share) & (ends[:, 1] - ends[:, 0] > 0.04)
    first, last = torch.where(chosen[:, None], ends, ends.new_tensor([0.0, 1.0])).unbind(1)
    grid = torch.linspace(0, 1, length, device=x0.device, dtype=x0.dtype)
    at = (column(first, grid[None]) + column(last - first, grid[None]) * grid) * (length - 1)
    low = at.floor().long().clamp(max=length - 2)
    part = (at - low)[:, None]
    lower, upper = (x0.gather(2, index[:, None].expand_as(x0)) for index in (low, low + 1))
    return torch.lerp(lower, upper, part)
