"""Pairs of nodes packed as the upper triangle of a matrix, places first so that gathering is cheap."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Triangle(nn.Module):
    """Between pairs (P, ...) of n nodes, row by row, and symmetric matrices (n, n, ...) with an empty diagonal.

    Args:
        nodes: n.
    """

    first: Tensor
    second: Tensor
    places: Tensor
    above: Tensor

    def __init__(self, nodes: int) -> None:
        super().__init__()
        i, j = torch.triu_indices(nodes, nodes, 1)
        pairs = torch.arange(len(i))
        table = torch.full((nodes, nodes), len(i))
        table[i, j] = table[j, i] = pairs
        self.nodes, self.pairs = nodes, len(i)
        for name, value in (("first", i), ("second", j), ("places", table.flatten()), ("above", i * nodes + j)):
            self.register_buffer(name, value, persistent=False)

    def dense(self, pairs: Tensor) -> Tensor:
        """(P, ...) as (n, n, ...) with zeros on the diagonal."""
        padded = torch.cat([pairs, pairs.new_zeros((1, *pairs.shape[1:]))])
        return padded.index_select(0, self.places).view(self.nodes, self.nodes, *pairs.shape[1:])

    def packed(self, matrix: Tensor) -> Tensor:
        """(n, n, ...) as (P, ...): what stands above the diagonal."""
        return matrix.reshape(self.nodes * self.nodes, *matrix.shape[2:]).index_select(0, self.above)

    def ends(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Values (n, ...) of nodes at both ends of every pair, (P, ...) each."""
        return nodes.index_select(0, self.first), nodes.index_select(0, self.second)
