"""A small convolutional network that judges noisy images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from guidekit.networks.conditioning import Conditioning
from guidekit.networks.unet import ResidualBlock


class ImageEncoder(nn.Module):
    """Features of images (B, C, H, W) at the places of a coarse grid, (B, N, width).

    Args:
        channels: C.
        width: channels of the last resolution; each one before has half of the next, and at least 16.
        stages: resolutions; each halves the one before.
        patch: side of the squares of pixels that are taken as one position; H and W must be multiples of
            patch * 2^(stages - 1).
        labels, timed: see `Conditioning`; labels are not used.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        stages: int = 2,
        patch: int = 2,
        labels: Sequence[int] = (),
        timed: bool = False,
    ) -> None:
        super().__init__()
        widths = [max(16, width // 2 ** (stages - 1 - i)) for i in range(stages)]
        self.width, self.patch, self.factor = widths[-1], patch, patch * 2 ** (stages - 1)
        self.told, self.conditioning = width, Conditioning(width, (), timed)
        self.first = nn.Conv2d(channels * patch**2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(size, size, width) for size in widths)
        self.narrow = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.norm = nn.RMSNorm(self.width)

    def features(self, x: Tensor, labels: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        """Last hidden layer (B, N, width) of images x (B, C, H, W) at noise levels (B,) in [0, 1].

        Raises:
            ValueError: H or W is no multiple of what the network halves.
        """
        if x.shape[-2] % self.factor or x.shape[-1] % self.factor:
            raise ValueError(f"images of {tuple(x.shape[-2:])} pixels; sides must be multiples of {self.factor}")
        h = self.first(F.pixel_unshuffle(x, self.patch))
        told = self.conditioning(len(x), None, level, h)
        told = F.silu(told[:, 0]) if isinstance(told, Tensor) else h.new_zeros(len(x), self.told)
        for i, block in enumerate(self.blocks):
            h = block(h if i == 0 else self.narrow[i - 1](h), told)
        return h.flatten(2).transpose(1, 2)
