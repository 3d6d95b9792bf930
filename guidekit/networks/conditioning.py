"""What a sequence network is told: tokens or their laws, labels and the noise level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guidekit.interventions.sites import Site, Sited


class Conditioning(nn.Module, Sited):
    """A vector per sequence, to be added to every position: the sum of its labels' embeddings and of its noise level's.

    Args:
        width: of the vector.
        labels: number of values of each label; a label of -1 is "not given" and has an embedding of its own.
        timed: whether the noise level is an input.
    """

    def __init__(self, width: int, labels: Sequence[int] = (), timed: bool = False) -> None:
        super().__init__()
        tables = [nn.Embedding(count + 1, width) for count in labels]
        self.tables = nn.ModuleList(tables)
        self.level = nn.Sequential(nn.Linear(32, width), nn.GELU(), nn.Linear(width, width)) if timed else None
        for table in tables:
            nn.init.normal_(table.weight, std=0.5)

    def forward(self, batch: int, labels: Tensor | None, level: Tensor | None, like: Tensor) -> Tensor | float:
        """(B, 1, width), or 0.0 when there is nothing to tell; labels (B, K) int64 or None, level (B,) in [0, 1]."""
        total: Tensor | float = 0.0
        if len(self.tables):
            if labels is None:
                labels = torch.full((batch, len(self.tables)), -1, device=like.device)
            given = labels.view(batch, len(self.tables))
            for k, table in enumerate(self.tables):
                total = total + table(torch.where(given[:, k] < 0, table.num_embeddings - 1, given[:, k]))  # type: ignore[operator]
        if self.level is not None:
            total = total + self.level(waves(level.to(like)))  # type: ignore[union-attr]
        return total[:, None] if isinstance(total, Tensor) else total

    def sites(self) -> list[Site]:
        """See `Sited.sites`: what is told about labels and noise level."""
        tables = [Site(f"tables.{k}", {"condition_embedding": table}) for k, table in enumerate(self.tables)]
        return tables if self.level is None else [*tables, Site("level", {"time_embedding": self.level})]


def waves(level: Tensor) -> Tensor:
    """Sines and cosines of a noise level (B,) in [0, 1] at 16 frequencies, (B, 32)."""
    frequency = math.pi * 2.0 ** torch.linspace(0, 7, 16, device=level.device, dtype=level.dtype)
    angle = level[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


def embedded(table: nn.Embedding, tokens: Tensor) -> Tensor:
    """Embeddings (B, L, width) of ids (B, L), or their means under laws of tokens (B, L, C), C <= rows of the table."""
    return table(tokens) if tokens.ndim == 2 else tokens.to(table.weight) @ table.weight[: tokens.shape[-1]]


def real_positions(tokens: Tensor, pad_id: int | None) -> Tensor:
    """Where ids (B, L), or laws of tokens (B, L, C), are no padding, (B, L) bool."""
    if pad_id is None:
        return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return tokens != pad_id if tokens.ndim == 2 else tokens[..., pad_id] < 0.5
