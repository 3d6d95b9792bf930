"""What a graph transformer is told of the structure of a noisy graph beyond its edges."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from guidekit.networks.graph_layout import Triangle

POWERS = 8
"""Of the normalized adjacency."""


def features(triangle: Triangle, adjacency: Tensor, there: Tensor, powers: int = POWERS) -> tuple[Tensor, ...]:
    """Of pairs (P, B, f), of nodes (n, B, g) and of graphs (B, h).

    Powers of the normalized adjacency (paths), whether two nodes are joined within 2, 4, 8, ... edges, common
    neighbors; degree, return probabilities, cycles of 3, 4 and 5 nodes, size of the component; numbers of nodes, edges,
    components, cycles.

    Args:
        triangle: layout of the pairs.
        adjacency: (B, n, n) 0 or 1, symmetric, 0 at absent nodes.
        there: (n, B), 1 at nodes that there are, else 0.
        powers: of the normalized adjacency.
    """
    count, degree = there.sum(0), adjacency.sum(-1)
    walks = _walks(adjacency, degree, powers)
    joined = _joined(adjacency)
    size = joined[-1].sum(-1)
    components = (there.T / size).sum(-1)
    edges = degree.sum(-1) / 2
    cycles, common = _cycles(adjacency, degree)
    pairs = torch.stack([*(2 * walk for walk in walks), *joined, common / 4])
    pairs = torch.stack([triangle.packed(each) for each in pairs.permute(0, 2, 3, 1)], -1)
    nodes = torch.stack([degree / 4, *(walk.diagonal(0, 1, 2) for walk in walks), size / triangle.nodes, *cycles], -1)
    totals = [cycle.sum(-1) / most for cycle, most in zip(cycles, (3, 4, 5), strict=True)]
    graph = [edges / count, count / triangle.nodes, components / triangle.nodes, (components < 1.5).to(count)]
    graph += [(edges - count + components) / triangle.nodes, *(total.clamp_max(1) for total in totals)]
    return pairs, nodes.transpose(0, 1), torch.stack(graph, -1)


def _walks(adjacency: Tensor, degree: Tensor, powers: int) -> list[Tensor]:
    """D^-1/2 A D^-1/2 to the powers 1 .. `powers`, (B, n, n) each."""
    scale = degree.clamp_min(1).rsqrt()
    step = adjacency * scale[:, :, None] * scale[:, None, :]
    found = [step]
    for _ in range(powers - 1):
        found.append(found[-1] @ step)
    return found


def _joined(adjacency: Tensor) -> list[Tensor]:
    """Whether nodes are joined by at most 2, 4, 8, ... edges up to any number, (B, n, n) each."""
    n = adjacency.shape[-1]
    reach = adjacency + torch.eye(n, device=adjacency.device, dtype=adjacency.dtype)
    reach = (reach > 0.5).to(adjacency)
    found = []
    for _ in range(max(1, math.ceil(math.log2(n)))):
        reach = ((reach @ reach) > 0).to(adjacency)
        found.append(reach)
    return found


def _cycles(adjacency: Tensor, degree: Tensor) -> tuple[list[Tensor], Tensor]:
    """Cycles of 3, 4 and 5 nodes through every node, (B, n) each, a tenth of them and at most 1; common neighbors.

    Closed walks less those that go back and forth. Of 5 steps these are a triangle and a detour of one edge, from one
    of its nodes (2 d_i + d_j + d_k - 3 of them a triangle i, j, k and direction), or on the way there from a neighbor.
    """
    two = adjacency @ adjacency
    three, four = two @ adjacency, two @ two
    closed = three.diagonal(0, 1, 2)
    triangles = closed / 2
    squares = (four.diagonal(0, 1, 2) - degree * (degree - 1) - (adjacency * degree[:, None, :]).sum(-1)) / 2
    beside = (adjacency * two * degree[:, None, :]).sum(-1)
    there = (adjacency * closed[:, None, :]).sum(-1)
    pentagons = ((four * adjacency).sum(-1) - 2 * closed * degree - 2 * beside - there + 5 * closed) / 2
    return [(count / 10).clamp_max(1) for count in (triangles, squares, pentagons)], two
