"""A small network of particles, whose answer turns, mirrors and is renumbered with them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CENTERS = 20


class PairNetwork(nn.Module):
    """x_i -> sum_j f(d_ij, what is around i and j, noise level) (x_i - x_j), or x f(x, level) for one particle.

    Features of unordered pairs pass `depth` rounds in which each learns what all pairs at its two particles say.

    Args:
        particles, dimensions: N and D.
        width, depth: of the features, and how many rounds.
    """

    first: Tensor
    second: Tensor
    centers: Tensor

    def __init__(self, particles: int, dimensions: int, width: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.particles, self.dimensions = particles, dimensions
        i, j = torch.triu_indices(particles, particles, 1) if particles > 1 else torch.tensor([[0], [0]])
        self.register_buffer("first", i, persistent=False)
        self.register_buffer("second", j, persistent=False)
        self.register_buffer("centers", torch.linspace(0, 5, CENTERS), persistent=False)
        self.level = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.embed = nn.Linear(CENTERS + 1, width)
        self.rounds = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        last = nn.Linear(width, 1)
        nn.init.zeros_(last.weight)
        self.head = nn.Sequential(nn.SiLU(), last)

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """Outputs (B, N, D) for states (B, N, D) in unit size and noise levels (B,) in [0, 1]."""
        alone = self.particles == 1
        gap = x if alone else x[:, self.first] - x[:, self.second]
        distance = gap.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
        seen = torch.exp(-8 * (distance - self.centers).square())
        seen = torch.cat([seen, x[:, :, :1] if alone else 1 / (0.2 + distance)], -1)
        h = self.embed(seen) + self.level(8 * level[:, None] - 4)[:, None]
        for one in self.rounds:
            around = h if alone else self._around(h)
            h = h + one(torch.cat([h, around], -1))
        pull = self.head(h) * (1.0 if alone else gap / (1 + distance))
        if alone:
            return pull
        out = torch.zeros_like(x).index_add(1, self.first, pull)
        return out.index_add(1, self.second, -pull)

    def _around(self, h: Tensor) -> Tensor:
        """Mean over all pairs at either of the two particles, for every pair, (B, pairs, width)."""
        sums = h.new_zeros(len(h), self.particles, h.shape[-1])
        sums = sums.index_add(1, self.first, h).index_add(1, self.second, h) / self.particles
        return sums[:, self.first] + sums[:, self.second]
