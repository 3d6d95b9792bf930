"""What values are trained on: samples and the states that led to them, with rewards in bins."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from guidekit.processes import DiscreteProcess


@dataclasses.dataclass(frozen=True)
class Collected:
    """Clean states with their rewards, and noisy states with the rewards they led to.

    Args:
        clean: (N, *S) unguided samples.
        rewards: (N + M,) of all samples, the guided ones last.
        noisy: (M * k, *S) states behind the switches, or None.
        times: (M * k,) of them.
        led_to: (M * k,) rewards of their ends.
    """

    clean: Tensor
    rewards: Tensor
    noisy: Tensor | None = None
    times: Tensor | None = None
    led_to: Tensor | None = None

    def join(self, other: tuple[Tensor, Tensor, Tensor, Tensor]) -> Collected:
        """With the (states, times, rewards they led to, rewards of samples) of a round."""
        states, times, led_to, rewards = other
        mine = [] if self.noisy is None else [(self.noisy, self.times, self.led_to)]
        joined = [torch.cat(parts) for parts in zip(*mine, (states, times, led_to), strict=True)]
        return Collected(self.clean, torch.cat([self.rewards, rewards]), *joined)


class Batches(IterableDataset):
    """Endless batches ((states, times), bins) from collected samples, all samples equally often."""

    def __init__(self, data: Collected, process: Any, edges: Tensor, size: int, seed: int) -> None:
        self.data, self.process, self.edges, self.size, self.seed = data, process, edges, size, seed

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
        """Fresh noise for clean samples, stored states for guided ones."""
        data, random = self.data, torch.Generator().manual_seed(self.seed)
        clean = len(data.clean)
        share = clean / len(data.rewards)
        while True:
            count = int((torch.rand(self.size, generator=random) < share).sum())
            rows = torch.randint(clean, (count,), generator=random)
            t = torch.rand(count, generator=random)
            x0 = data.clean[rows]
            noise = torch.rand if isinstance(self.process, DiscreteProcess) else torch.randn
            states, times, rewards = self.process.noise(x0, t, noise(x0.shape, generator=random)), t, data.rewards[rows]
            if count < self.size:
                stored: Any = data
                pick = torch.randint(len(stored.noisy), (self.size - count,), generator=random)
                states, times = torch.cat([states, stored.noisy[pick]]), torch.cat([times, stored.times[pick]])
                rewards = torch.cat([rewards, stored.led_to[pick]])
            yield (states, times), bin_of(rewards, self.edges)


def bin_edges(rewards: Tensor, bins: int, equal_counts: bool = False) -> Tensor:
    """Edges (bins + 1,) over all finite rewards, of equally wide bins or of bins with equal numbers of rewards.

    Raises:
        ValueError: none is finite.
    """
    finite = rewards[rewards.isfinite()].double()
    if len(finite) == 0:
        raise ValueError(f"none of {len(rewards)} samples has a reward, so there is nothing to learn from")
    if equal_counts:
        return torch.quantile(finite, torch.linspace(0, 1, bins + 1, dtype=torch.float64))
    low, high = float(finite.min()), float(finite.max())
    return torch.linspace(low, high if high > low else low + 1, bins + 1, dtype=torch.float64)


def bin_of(rewards: Tensor, edges: Tensor) -> Tensor:
    """Bins 1 .. K of rewards (B,), 0 for those that are minus infinity."""
    inside = torch.bucketize(rewards.double(), edges[1:-1], right=True) + 1
    return torch.where(rewards.isfinite(), inside, 0)


def bin_means(rewards: Tensor, edges: Tensor) -> Tensor:
    """What a bin stands for, (K + 1,): the mean of the rewards seen in it, its middle where there is none."""
    bins, count = bin_of(rewards, edges), len(edges)
    finite = rewards.double().where(rewards.isfinite(), 0.0)
    number = torch.zeros(count, dtype=torch.float64).index_add(0, bins, torch.ones_like(finite))
    total = torch.zeros(count, dtype=torch.float64).index_add(0, bins, finite)
    middle = torch.cat([edges[:1], (edges[1:] + edges[:-1]) / 2])
    means = torch.where(number > 0, total / number.clamp_min(1), middle)
    means[0] = -math.inf
    return means
