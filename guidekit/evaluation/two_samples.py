"""Whether two sets of points are of one law: how well a small network tells them apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def c2st(
    first: Tensor, second: Tensor, folds: int = 3, seed: int = 0, hidden: int = 32, rounds: int = 100
) -> tuple[float, float]:
    """Accuracy of a classifier of two sets (m, D) and (n, D) on points it has not seen, and its error by chance.

    0.5 is what one law gives, 1 is told apart at a glance. Sets of unequal size are cut to the smaller. Coordinates are
    standardized, and the network (one hidden layer) sees them and their squares, so that means, variances and, by sums
    of coordinates, correlations are within easy reach of it.

    Args:
        first, second: points, real.
        folds: parts, each judged by a network trained on the others.
        seed: of shuffling and initial weights.
        hidden: units.
        rounds: steps of Adam on all points at once.

    Returns:
        (accuracy, standard error): the error is that of chance, 1 / (2 sqrt(points)).

    Raises:
        ValueError: sets of different D, or fewer points than twice the folds.

    Source: Lopez-Paz & Oquab 2017, arXiv:1610.06545.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"sets of shapes {tuple(first.shape)} and {tuple(second.shape)}; (m, D) and (n, D) are needed")
    generator = torch.Generator().manual_seed(seed)
    size = min(len(first), len(second))
    if size < 2 * folds:
        raise ValueError(f"{size} points a set; at least {2 * folds} are needed for {folds} folds")
    parts = [one[torch.randperm(len(one), generator=generator)[:size]].detach().float() for one in (first, second)]
    points = torch.cat(parts)
    points = (points - points.mean(0)) / points.std(0).clamp_min(1e-12)
    labels = torch.cat([torch.zeros(size), torch.ones(size)]).to(points)
    fold = torch.cat([torch.randperm(size, generator=generator) % folds for _ in parts]).to(points.device)
    right = 0.0
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        for number in range(folds):
            seen = fold != number
            judge = _trained(points[seen], labels[seen], hidden, rounds)
            with torch.no_grad():
                right += float(((_score(judge, points[~seen]) > 0) == (labels[~seen] > 0.5)).sum())
    return right / len(points), 0.5 / math.sqrt(len(points))


def _score(judge: nn.Module, points: Tensor) -> Tensor:
    return judge(torch.cat([points, points.square() - 1], 1))[:, 0]


def _trained(points: Tensor, labels: Tensor, hidden: int, rounds: int) -> nn.Module:
    """A network for the logit of being of the second set."""
    judge = nn.Sequential(nn.Linear(2 * points.shape[1], hidden), nn.SiLU(), nn.Linear(hidden, 1)).to(points.device)
    adam = torch.optim.AdamW(judge.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(rounds):
        loss = nn.functional.binary_cross_entropy_with_logits(_score(judge, points), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return judge
