"""A small bidirectional transformer over token sequences of varying length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guidekit.interventions.sites import Site, Sited, block_ports
from guidekit.networks.conditioning import Conditioning, embedded, real_positions


class Block(nn.Module, Sited):
    """Pre-norm attention and feed-forward block with normalized queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = nn.RMSNorm(width // heads, elementwise_affine=False)
        self.key_norm = nn.RMSNorm(width // heads, elementwise_affine=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.RMSNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """h (B, L, width); mask (B, 1, 1, L) bool, True where a position may be attended to."""
        batch, length, width = h.shape
        q, k, v = self.qkv(self.attention_norm(h)).view(batch, length, 3, self.heads, -1).unbind(2)
        q, k, v = (z.transpose(1, 2) for z in (self.query_norm(q), self.key_norm(k), v))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        h = h + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return h + self.down(F.gelu(self.up(self.feed_norm(h)), approximate="tanh"))

    def sites(self) -> list[Site]:
        """See `Sited.sites`."""
        return [Site("", block_ports(self, self.out, self.down), padding=_real_tokens)]


def _real_tokens(args: tuple, kwargs: dict) -> Tensor:
    """The mask (B, 1, 1, L) of a block's call, as (B, L)."""
    mask: Tensor = args[1] if len(args) > 1 else kwargs["mask"]
    return mask[:, 0, 0]


class SequenceTransformer(nn.Module):
    """Token ids to logits of the clean token at every position.

    A position knows its distance from the start and from the end of its sequence, so the network knows the length.
    Padding is neither attended to nor read: what stands there cannot change the logits of real positions.

    Args:
        vocab_size: V, number of clean tokens; id V is the mask.
        max_length: longest sequence, in tokens.
        width, depth, heads: size of the network.
        pad_id: id that marks positions outside the sequence, or None when every position is real.
        labels, timed: see `Conditioning`.
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        pad_id: int | None = None,
        labels: Sequence[int] = (),
        timed: bool = False,
    ) -> None:
        super().__init__()
        self.vocab_size, self.max_length, self.width, self.pad_id = vocab_size, max_length, width, pad_id
        self.embed = nn.Embedding(vocab_size + 1, width)
        self.from_start = nn.Embedding(max_length, width)
        self.from_end = nn.Embedding(max_length, width)
        self.conditioning = Conditioning(width, labels, timed)
        blocks = [Block(width, heads) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocab_size)
        for table in (self.embed, self.from_start, self.from_end):
            nn.init.normal_(table.weight, std=0.5)
        for block in blocks:
            nn.init.zeros_(block.out.weight)
            nn.init.zeros_(block.down.weight)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def features(self, tokens: Tensor, labels: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        """Last hidden layer (B, L, width) for tokens (B, L), or for laws of tokens (B, L, C)."""
        if tokens.shape[1] > self.max_length:
            raise ValueError(f"sequence of {tokens.shape[1]} tokens; this network takes at most {self.max_length}")
        real = real_positions(tokens, self.pad_id)
        index = torch.arange(tokens.shape[1], device=tokens.device)
        to_end = (real.sum(1, keepdim=True) - 1 - index).clamp_min(0)
        h = embedded(self.embed, tokens) + self.from_start(index) + self.from_end(to_end)
        h = h + self.conditioning(len(tokens), labels, level, h)
        # A sequence with no real position attends to itself, which keeps the softmax finite; its logits are never used.
        mask = (real | ~real.any(1, keepdim=True))[:, None, None]
        for block in self.blocks:
            h = block(h, mask)
        return h

    def logits(self, h: Tensor) -> Tensor:
        """Logits (..., V) of features (..., width)."""
        return self.head(self.norm(h))

    def forward(
        self, tokens: Tensor, select: Tensor | None = None, labels: Tensor | None = None, level: Tensor | None = None
    ) -> Tensor:
        """Logits (B, L, V) for tokens (B, L) int64, or (N, V) for the N positions where select (B, L) is True.

        Args:
            tokens: ids, the mask is V.
            select: positions whose logits are wanted; None is all.
            labels: (B, K) int64, -1 where a label is not given; None gives none.
            level: noise level 1 - a(t), (B,); for networks made with timed=True.
        """
        h = self.features(tokens, labels, level)
        return self.logits(h if select is None else h[select])
