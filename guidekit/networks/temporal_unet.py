"""A small U-Net over sequences of points, told the noise level and which points are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guidekit.interventions.sites import Site, Sited
from guidekit.networks.conditioning import waves


class TemporalBlock(nn.Module, Sited):
    """Two convolutions over time, the first one's output scaled and shifted by the noise level."""

    def __init__(self, inputs: int, width: int, told: int, kernel: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(inputs, width, kernel, padding=kernel // 2)
        self.second = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.first_norm, self.second_norm = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.modulation = nn.Linear(told, 2 * width)
        self.skip = nn.Conv1d(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        """h (B, inputs, T) and noise level (B, told) to (B, width, T)."""
        scale, shift = self.modulation(told)[:, :, None].chunk(2, 1)
        inner = F.silu(self.first_norm(self.first(h)) * (1 + scale) + shift)
        return self.skip(h) + F.silu(self.second_norm(self.second(inner)))

    def sites(self) -> list[Site]:
        """See `Sited.sites`."""
        return [Site("", {"block": self}, rest="skip")]


class TemporalAttention(nn.Module, Sited):
    """Self-attention over time with learned places, added to its input; its output starts at zero."""

    def __init__(self, width: int, length: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(8, width)
        self.places = nn.Parameter(0.02 * torch.randn(width, length))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, h: Tensor) -> Tensor:
        """h (B, width, T)."""
        batch, width, length = h.shape
        tokens = (self.norm(h) + self.places).transpose(1, 2)
        q, k, v = self.qkv(tokens).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        return h + self.out(attended).transpose(1, 2)

    def sites(self) -> list[Site]:
        """See `Sited.sites`."""
        return [Site("", {"block": self, "tokens": self, "self_attention": self, "attention_output": self.out})]


class TemporalUNet(nn.Module):
    """Sequences of points in C dimensions to outputs of the same shape.

    It sees Fourier features of the points, damped by what the noise hides, so that maps with walls can be learned.

    Args:
        channels: C.
        length: T, a multiple of 2^(len(multipliers) - 1).
        width: channels of the first level; the others have as many times `multipliers`, multiples of 8.
        multipliers: one a level; each level halves the length.
        kernel: size of the convolutions, odd.
        frequencies: octaves of the Fourier features, from a period of 4.
        sigma_data: standard deviation of the data, for undoing the scale of the input.
        levels: log sigma of the noise levels 0 and 1.

    Raises:
        ValueError: a length that cannot be halved so often.

    Source: the temporal U-Net of Janner et al. 2022, arXiv:2205.09991, with features and attention of our own.
    """

    def __init__(
        self,
        channels: int = 2,
        length: int = 64,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        kernel: int = 5,
        frequencies: int = 6,
        sigma_data: float = 0.5,
        levels: tuple[float, float] = (-7.0, 7.0),
    ) -> None:
        super().__init__()
        shortest = 2 ** (len(multipliers) - 1)
        if length % shortest:
            raise ValueError(f"length={length}; a multiple of {shortest} is expected for {len(multipliers)} levels")
        self.sigma_data, self.levels = sigma_data, tuple(levels)
        self.frequency: Tensor
        self.register_buffer("frequency", math.pi / 2 * 2.0 ** torch.arange(frequencies), persistent=False)
        told, widths = 4 * width, [width * each for each in multipliers]
        self.level = nn.Sequential(nn.Linear(32, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU())
        self.inputs = nn.Conv1d(channels * (3 + 4 * frequencies), width, 1)
        self.down, self.shrink, before = nn.ModuleList(), nn.ModuleList(), width
        for place, each in enumerate(widths):
            self.down.append(TemporalBlock(before, each, told, kernel))
            last, before = place == len(widths) - 1, each
            self.shrink.append(nn.Identity() if last else nn.Conv1d(each, each, 3, 2, 1))
        self.before = TemporalBlock(before, before, told, kernel)
        self.attention = TemporalAttention(before, length // shortest)
        self.after = TemporalBlock(before, before, told, kernel)
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for place in range(len(widths) - 1, -1, -1):
            after = widths[max(place - 1, 0)]
            self.up.append(TemporalBlock(2 * widths[place], after, told, kernel))
            self.grow.append(nn.ConvTranspose1d(after, after, 4, 2, 1) if place else nn.Identity())
        self.head = nn.Conv1d(widths[0], channels, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor, level: Tensor, known: Tensor | None = None) -> Tensor:
        """Output (B, C, T) for noisy points x (B, C, T) in unit size at noise levels (B,) in [0, 1].

        Args:
            x: scaled by 1 / sqrt(sigma_data^2 + sigma^2).
            level: log sigma, see `guidekit.priors.parametrization.noise_level`.
            known: (B, 1 + C, T), 1 where a point is known and the clean points there, 0 elsewhere; None is nothing.
        """
        given = x.new_zeros(len(x), 1 + x.shape[1], x.shape[2]) if known is None else known.to(x)
        h = self.inputs(self.features(x, level, given[:, :1], given[:, 1:]))
        told, kept = self.level(waves(level.to(x))), []
        for block, halve in zip(self.down, self.shrink, strict=True):
            h = block(h, told)
            kept.append(h)
            h = halve(h)
        h = self.after(self.attention(self.before(h, told)), told)
        for block, double in zip(self.up, self.grow, strict=True):
            h = double(block(torch.cat([h, kept.pop()], 1), told))
        return self.head(h)

    def features(self, x: Tensor, level: Tensor, mask: Tensor, points: Tensor) -> Tensor:
        """What the first layer sees, (B, C (3 + 4 frequencies), T)."""
        low, high = self.levels
        sigma = (low + (high - low) * level.to(x))[:, None, None].exp()
        unit = torch.where(mask > 0, points / self.sigma_data, x)
        at = torch.where(mask > 0, points, x * (sigma.square() + self.sigma_data**2).sqrt())
        left = torch.where(mask > 0, torch.zeros_like(sigma), sigma)  # noise of a point
        angle = (at[:, :, None] * self.frequency[:, None]).flatten(1, 2)
        damped = torch.exp(-0.5 * (left[:, :, None] * self.frequency[:, None]).square()).flatten(1, 2)
        damped = damped.repeat(1, x.shape[1], 1)
        sine, cosine = angle.sin(), angle.cos()
        shown = [sine * damped, cosine * damped, sine * mask, cosine * mask]
        return torch.cat([unit, mask.expand_as(x), points * mask, *shown], 1)
