"""A residual stack of dilated convolutions over token sequences of one length."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from guidekit.interventions.sites import Site, Sited
from guidekit.networks.conditioning import Conditioning, embedded


class DilatedConvolution(nn.Module, Sited):
    """Token ids to logits of the clean token at every position, by translation-equivariant layers.

    The receptive field is 1 + 2 floor(kernel / 2) sum(dilations) positions; beyond the ends there is nothing (zeros).

    Args:
        vocab_size: V, number of clean tokens; id V is the mask.
        max_length: longest sequence, in tokens.
        width: channels.
        kernel: taps of a layer, odd.
        dilations: one layer each.
        pad_id: must be None: every position of a sequence is real.
        labels, timed: see `Conditioning`.

    Source of the dilation pattern for DNA: Avdeyev et al. 2023, arXiv:2305.10699 (as used by Stark et al. 2024).
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        width: int = 128,
        kernel: int = 5,
        dilations: Sequence[int] = (1, 1, 4, 16, 1, 4, 16, 64),
        pad_id: int | None = None,
        labels: Sequence[int] = (),
        timed: bool = False,
    ) -> None:
        super().__init__()
        if pad_id is not None or kernel % 2 == 0:
            raise ValueError(f"pad_id={pad_id}, kernel={kernel}: sequences are not padded here, and kernels are odd")
        self.vocab_size, self.max_length, self.width = vocab_size, max_length, width
        self.embed = nn.Embedding(vocab_size + 1, width)
        self.conditioning = Conditioning(width, labels, timed)
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in dilations)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, kernel, dilation=d, padding=d * (kernel // 2)) for d in dilations
        )
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocab_size)
        nn.init.normal_(self.embed.weight, std=0.5)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def features(self, tokens: Tensor, labels: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        """Last hidden layer (B, L, width) for tokens (B, L), or for laws of tokens (B, L, C)."""
        if tokens.shape[1] > self.max_length:
            raise ValueError(f"sequence of {tokens.shape[1]} tokens; this network takes at most {self.max_length}")
        h = embedded(self.embed, tokens)
        h = (h + self.conditioning(len(tokens), labels, level, h)).transpose(1, 2)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            h = h + layer(F.gelu(norm(h), approximate="tanh"))
        return h.transpose(1, 2)

    def logits(self, h: Tensor) -> Tensor:
        """Logits (..., V) of features (..., width)."""
        return self.head(self.norm(h))

    def forward(
        self, tokens: Tensor, select: Tensor | None = None, labels: Tensor | None = None, level: Tensor | None = None
    ) -> Tensor:
        """Logits (B, L, V) for tokens (B, L) int64, or (N, V) for the N positions where select (B, L) is True."""
        h = self.features(tokens, labels, level)
        return self.logits(h if select is None else h[select])

    def sites(self) -> list[Site]:
        """See `Sited.sites`: the layers, whose outputs are added to the residual stream."""
        return [Site(f"layers.{i}", {"block": layer}, rest="zero") for i, layer in enumerate(self.layers)]
