"""A small U-Net over images, told the noise level and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guidekit.interventions.sites import Site, Sited
from guidekit.networks.conditioning import Conditioning


class ResidualBlock(nn.Module, Sited):
    """Two 3x3 convolutions, the second one's input scaled and shifted by the condition; the last starts at zero."""

    def __init__(self, inputs: int, width: int, told: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(groups(inputs), inputs)
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.modulation = nn.Linear(told, 2 * width)
        self.second_norm = nn.GroupNorm(groups(width), width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        """h (B, inputs, H, W) and condition (B, told) to (B, width, H, W)."""
        scale, shift = self.modulation(told)[..., None, None].chunk(2, 1)
        inner = self.second_norm(self.first(F.silu(self.first_norm(h)))) * (1 + scale) + shift
        return self.skip(h) + self.second(F.silu(inner))

    def sites(self) -> list[Site]:
        """See `Sited.sites`."""
        return [Site("", {"block": self}, rest="skip")]


class ImageAttention(nn.Module, Sited):
    """Self-attention over the positions of a feature map, added to it; its output starts at zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups(width), width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, h: Tensor) -> Tensor:
        """h (B, width, H, W)."""
        batch, width, *size = h.shape
        tokens = self.norm(h).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).view(batch, -1, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, -1, width)
        return h + self.out(attended).transpose(1, 2).reshape(batch, width, *size)

    def sites(self) -> list[Site]:
        """See `Sited.sites`."""
        return [Site("", {"block": self, "tokens": self, "self_attention": self, "attention_output": self.out})]


class UNet(nn.Module):
    """Images to images of the same shape: residual blocks at several resolutions with connections between equal ones.

    Args:
        channels: C of an image.
        width: channels at the first resolution.
        multipliers: of the width, one for each resolution; each halves the one before.
        blocks: residual blocks a resolution on the way down; one more on the way up.
        attention: indices of the resolutions with self-attention behind every block; the middle always has it.
        heads: of attention.
        patch: side of the squares of pixels that are taken as one position. H and W must be multiples of
            patch * 2^(len(multipliers) - 1).
        labels: number of values of each label, see `Conditioning`.

    Source of the layout: Ho et al. 2020, arXiv:2006.11239; modulation: Dhariwal & Nichol 2021, arXiv:2105.05233.
    """

    def __init__(
        self,
        channels: int,
        width: int = 48,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        attention: Sequence[int] = (1,),
        heads: int = 4,
        patch: int = 2,
        labels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        told, widths = 2 * width, [width * m for m in multipliers]
        self.patch, self.factor = patch, patch * 2 ** (len(widths) - 1)
        self.conditioning = Conditioning(told, labels, timed=True)
        self.first = nn.Conv2d(channels * patch**2, width, 3, padding=1)
        self.down, self.up, kept, inputs = nn.ModuleList(), nn.ModuleList(), [width], width
        for level, size in enumerate(widths):
            stage = nn.ModuleList()
            for _ in range(blocks):
                stage.append(_stage(inputs, size, told, heads if level in attention else 0))
                inputs = size
                kept.append(size)
            if level < len(widths) - 1:
                stage.append(nn.Conv2d(size, size, 3, stride=2, padding=1))
                kept.append(size)
            self.down.append(stage)
        self.middle = nn.ModuleList([_stage(inputs, inputs, told, heads), _stage(inputs, inputs, told, 0)])
        for level, size in reversed(list(enumerate(widths))):
            stage = nn.ModuleList()
            for _ in range(blocks + 1):
                stage.append(_stage(inputs + kept.pop(), size, told, heads if level in attention else 0))
                inputs = size
            if level:
                stage.append(nn.Conv2d(size, size, 3, padding=1))
            self.up.append(stage)
        self.norm = nn.GroupNorm(groups(width), width)
        self.head = nn.Conv2d(width, channels * patch**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """Output (B, C, H, W) for noisy images x (B, C, H, W) at noise levels (B,) in [0, 1], labels (B, K) or None.

        Raises:
            ValueError: H or W is no multiple of what the network halves.
        """
        if x.shape[-2] % self.factor or x.shape[-1] % self.factor:
            raise ValueError(f"images of {tuple(x.shape[-2:])} pixels; sides must be multiples of {self.factor}")
        h = self.first(F.pixel_unshuffle(x, self.patch))
        told = F.silu(self.conditioning(len(x), labels, level, h)[:, 0])
        kept = [h]
        for stage in self.down:
            for part in stage:  # type: ignore[attr-defined]
                h = part(h) if isinstance(part, nn.Conv2d) else _through(part, h, told)
                kept.append(h)
        for part in self.middle:
            h = _through(part, h, told)
        for stage in self.up:
            for part in stage:  # type: ignore[attr-defined]
                if isinstance(part, nn.Conv2d):
                    h = part(F.interpolate(h, scale_factor=2.0, mode="nearest"))
                else:
                    h = _through(part, torch.cat([h, kept.pop()], 1), told)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.patch)


def groups(width: int) -> int:
    """Groups of a normalization: at most 8, of at least 4 channels where they divide."""
    return next(g for g in (8, 4, 2, 1) if width % g == 0)


def _stage(inputs: int, width: int, told: int, heads: int) -> nn.ModuleDict:
    parts = {"block": ResidualBlock(inputs, width, told)}
    return nn.ModuleDict(parts | ({"attention": ImageAttention(width, heads)} if heads else {}))


def _through(stage: Any, h: Tensor, told: Tensor) -> Tensor:
    h = stage["block"](h, told)
    return stage["attention"](h) if "attention" in stage else h
