"""A small diffusion transformer (DiT) over patches of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guidekit.interventions.sites import Site, Sited, block_ports
from guidekit.networks.conditioning import Conditioning


class ModulatedBlock(nn.Module):
    """Attention and feed-forward block whose inputs and outputs are scaled by the condition; starts as the identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        """h (B, N, width) and condition (B, width)."""
        a_scale, a_shift, a_gate, f_scale, f_shift, f_gate = self.modulation(told)[:, None].chunk(6, -1)
        batch, count, width = h.shape
        tokens = self.attention_norm(h) * (1 + a_scale) + a_shift
        q, k, v = self.qkv(tokens).view(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, count, width)
        h = h + a_gate * self.out(attended)
        fed = self.feed_norm(h) * (1 + f_scale) + f_shift
        return h + f_gate * self.down(F.gelu(self.up(fed), approximate="tanh"))


class ImageTransformer(nn.Module, Sited):
    """Images to images of the same shape by a transformer over their patches.

    Args:
        channels, size: C and the side H = W of an image.
        width, depth, heads: of the transformer.
        patch: side of a patch; it must divide `size`.
        labels: number of values of each label, see `Conditioning`.

    Source: Peebles & Xie 2022, arXiv:2212.09748 (adaLN-Zero).
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        patch: int = 4,
        labels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if size % patch:
            raise ValueError(f"patch={patch} does not divide size={size}")
        self.patch, self.size, self.side = patch, size, size // patch
        self.conditioning = Conditioning(width, labels, timed=True)
        self.first = nn.Linear(channels * patch**2, width)
        self.place = nn.Parameter(0.02 * torch.randn(self.side**2, width))
        self.blocks = nn.ModuleList(ModulatedBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, channels * patch**2)
        for layer in (self.modulation, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """Output (B, C, H, W) for noisy images x (B, C, H, W) at noise levels (B,) in [0, 1], labels (B, K) or None.

        Raises:
            ValueError: the images are of another size.
        """
        if x.shape[-2:] != (self.size, self.size):
            raise ValueError(f"images of {tuple(x.shape[-2:])} pixels; this network takes {self.size} x {self.size}")
        h = self.first(F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)) + self.place
        told = F.silu(self.conditioning(len(x), labels, level, h)[:, 0])
        for block in self.blocks:
            h = block(h, told)
        scale, shift = self.modulation(told)[:, None].chunk(2, -1)
        h = self.head(self.norm(h) * (1 + scale) + shift)
        return F.pixel_shuffle(h.transpose(1, 2).unflatten(2, (self.side, self.side)), self.patch)

    def sites(self) -> list[Site]:
        """See `Sited.sites`: the blocks, whose tokens are patches."""
        dims = (self.side, self.side)
        parts: Any = enumerate(self.blocks)
        return [Site(f"blocks.{i}", block_ports(block, block.out, block.down), dims=dims) for i, block in parts]
