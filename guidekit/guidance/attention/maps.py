"""Regions of a state from the attention maps of the network that denoises it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.interventions.smoothing import smoothed


def upsampled(tokens: Tensor, dims: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Numbers of tokens (B, N) on a grid of another size (B, *shape), every token a block of equal numbers."""
    return F.interpolate(tokens.view(len(tokens), 1, *dims), size=tuple(shape), mode="nearest")[:, 0]


def completed(maps: Tensor, powers: int = 4) -> Tensor:
    """Mean of the first powers of attention maps (B, N, N): what is reached in that many steps; rows sum to one.

    Source: Shen et al. 2024, arXiv:2404.05384, eq. 6.
    """
    power = total = maps
    for _ in range(powers - 1):
        power = power @ maps
        total = total + power
    return total / powers


def on_places(maps: Tensor, dims: Sequence[int]) -> Tensor:
    """Self-attention (B, N, N) among the tokens of the grid alone, without leading ones; rows sum to one."""
    leading = maps.shape[1] - math.prod(dims)
    inner = maps[:, leading:, leading:]
    return inner / inner.sum(-1, keepdim=True).clamp_min(1e-12) if leading else inner


def clustered(rows: Tensor, most: int = 8, apart: float = 0.25, rounds: int = 10) -> Tensor:
    """Cluster of every distribution, (B, P) int64 from 0, by k-means in total variation; every sample for itself.

    The centres to start from are the rows farthest from those before, as many as are more than `apart` from these.

    Args:
        rows: distributions (B, P, N).
        most: clusters a sample.
        apart: least total variation between a new centre and the others, in [0, 1].
        rounds: of assignments and means.

    Source of the start: Gonzalez 1985, "Clustering to minimize the maximum intercluster distance".
    """
    index = torch.arange(len(rows), device=rows.device)
    centres = rows[:, :1]
    nearest = variation(rows, centres)[..., 0]
    alive = [torch.ones_like(index, dtype=torch.bool)]
    for _ in range(most - 1):
        gap, farthest = nearest.max(1)
        alive.append(gap > apart)
        if not alive[-1].any():
            break
        new = rows[index, farthest][:, None]
        centres = torch.cat([centres, new], 1)
        distance = variation(rows, new)[..., 0]
        nearest = torch.where(alive[-1][:, None], torch.minimum(nearest, distance), nearest)
    dead = ~torch.stack(alive[: centres.shape[1]], 1)
    for _ in range(rounds):
        label = variation(rows, centres).masked_fill(dead[:, None], torch.inf).argmin(-1)
        member = F.one_hot(label, centres.shape[1]).to(rows).transpose(1, 2)
        count = member.sum(-1, keepdim=True)
        centres = torch.where(count > 0, member @ rows / count.clamp_min(1), centres)
    return variation(rows, centres).masked_fill(dead[:, None], torch.inf).argmin(-1)


def variation(rows: Tensor, centres: Tensor) -> Tensor:
    """Total variation between distributions (B, P, N) and (B, K, N), in [0, 1]; (B, P, K)."""
    return 0.5 * torch.cdist(rows, centres, p=1)


def self_regions(
    maps: Sequence[tuple[Tensor, Sequence[int]]], shape: Sequence[int], most: int = 8, apart: float = 0.25
) -> Tensor:
    """Regions (B, *shape) of places whose completed self-attention is alike, see `clustered`.

    Args:
        maps: self-attention (B, N, N) and its grid, one or more.
        shape: grid of the state.
        most, apart: see `clustered`; several maps have their mean distance.
    """
    finest = max((dims for _, dims in maps), key=math.prod)
    whole = [_spread(completed(on_places(map_, dims)), dims, finest) for map_, dims in maps]
    label = clustered(torch.cat(whole, 2) / len(whole), most, apart)
    return upsampled(label.to(whole[0]), finest, shape).round().long()


def _spread(maps: Tensor, dims: Sequence[int], finest: Sequence[int]) -> Tensor:
    """What the places of a grid attend to (B, N, M), as what those of a finer grid do (B, P, M)."""
    columns = maps.transpose(1, 2)
    fine = upsampled(columns.flatten(0, 1), dims, finest)
    return fine.view(*columns.shape[:2], -1).transpose(1, 2)


def cross_maps(
    cross: Sequence[tuple[Tensor, Sequence[int]]], own: Sequence[tuple[Tensor, Sequence[int]]], smooth: float = 0.5
) -> tuple[Tensor, tuple[int, ...]]:
    """How much every place attends to every token of the context against the token's mean, (B, P, M), and the grid.

    Maps are completed by self-attention on their grid, brought to the finest grid, smoothed, and averaged.

    Args:
        cross: attention to the context (B, N, M) and its grid.
        own: self-attention (B, N, N) and its grid.
        smooth: standard deviation of a Gaussian, in places of the finest grid.

    Source: Shen et al. 2024, arXiv:2404.05384, section 4.1.
    """
    finest = tuple(max((dims for _, dims in cross), key=math.prod))
    found = []
    for map_, dims in cross:
        inside = map_[:, map_.shape[1] - math.prod(dims) :]
        same = [completed(on_places(other, there)) for other, there in own if tuple(there) == tuple(dims)]
        if same:
            inside = torch.stack(same).mean(0) @ inside
        fine = _spread(inside, dims, finest).unflatten(1, finest)
        fine = smoothed(fine, range(1, 1 + len(finest)), smooth).flatten(1, len(finest))
        found.append(fine / fine.mean(1, keepdim=True).clamp_min(1e-12))
    return torch.stack(found).mean(0), finest


def cross_regions(maps: Tensor, dims: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Regions (B, *shape): the token of the context (B, P, M) that every place attends to most, see `cross_maps`."""
    return upsampled(maps.argmax(-1).to(maps), dims, shape).round().long()


def foreground(maps: Tensor, dims: Sequence[int], shape: Sequence[int], start: int) -> Tensor:
    """Places (B, *shape) bool that attend more to the other tokens together than to the start token.

    Args:
        maps: (B, P, M), see `cross_maps`.
        dims, shape: grids of the maps and of the state.
        start: the token of the context that stands for nothing.
    """
    others = maps.sum(-1) - maps[..., start]
    return upsampled((others > maps[..., start]).to(maps), dims, shape) > 0
