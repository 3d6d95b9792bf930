"""A U-Net over waveforms: it looks at an orthonormal picture of them, bands by windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guidekit.networks.unet import UNet


def lapped_basis(bands: int) -> Tensor:
    """Cosines (2 * bands, bands) under a sine window, float32: rows are samples of a window, columns bands.

    Source: Princen, Johnson & Bradley 1987, the modified discrete cosine transform.
    """
    samples = torch.arange(2 * bands, dtype=torch.float64) + 0.5
    frequencies = torch.arange(bands, dtype=torch.float64) + 0.5
    cosines = torch.cos(math.pi / bands * (samples[:, None] + bands / 2) * frequencies)
    return (cosines * torch.sin(math.pi / (2 * bands) * samples)[:, None] * math.sqrt(2 / bands)).float()


def lapped(waves: Tensor, basis: Tensor) -> Tensor:
    """Modified discrete cosine transform (B, C, bands, T / bands) of waveforms (B, C, T), the end joined to the start.

    Orthonormal: white noise stays white, and energies are kept.
    """
    bands = basis.shape[1]
    frames = waves.unflatten(-1, (-1, bands))
    windows = torch.cat([frames, frames.roll(-1, -2)], -1)
    return (windows @ basis).transpose(-1, -2)


def unlapped(pictures: Tensor, basis: Tensor) -> Tensor:
    """Waveforms (B, C, T) of their transforms (B, C, bands, T / bands): the inverse and adjoint of `lapped`."""
    first, second = (pictures.transpose(-1, -2) @ basis.T).chunk(2, -1)
    return (first + second.roll(1, -2)).flatten(-2)


class WaveformUNet(nn.Module):
    """Waveforms to waveforms of the same length, by a `UNet` over their lapped transform, which is told the bands.

    Args:
        channels: C of a waveform.
        bands: of the transform, evenly spaced up to half the sample rate; a window has twice as many samples.
        width, multipliers, blocks, attention, heads, patch, labels: see `UNet`; bands and T / bands must be multiples
            of patch * 2^(len(multipliers) - 1).
    """

    def __init__(
        self,
        channels: int = 1,
        bands: int = 128,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 3),
        blocks: int = 1,
        attention: Sequence[int] = (2,),
        heads: int = 4,
        patch: int = 4,
        labels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.bands = bands
        self.basis: Tensor
        self.register_buffer("basis", lapped_basis(bands), persistent=False)
        self.pictures = UNet(channels + 1, width, multipliers, blocks, attention, heads, patch, labels)

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """Output (B, C, T) for noisy waveforms x (B, C, T) at noise levels (B,) in [0, 1], labels (B, K) or None.

        Raises:
            ValueError: T is no multiple of the bands, or the transform has a size that the U-Net cannot halve.
        """
        if x.shape[-1] % self.bands:
            raise ValueError(f"waveforms of {x.shape[-1]} samples; a multiple of {self.bands} is expected")
        basis = self.basis.to(x)
        picture = lapped(x, basis)
        height = torch.linspace(-1, 1, self.bands).to(x)[:, None].expand(len(x), 1, -1, picture.shape[-1])
        made = self.pictures(torch.cat([picture, height], 1), level, labels)
        return unlapped(made[:, :-1], basis)
