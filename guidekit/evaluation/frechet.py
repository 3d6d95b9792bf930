"""Frechet distance of the Gaussians with the moments of two sets of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def frechet(first: Tensor, second: Tensor) -> float:
    """|m - m'|^2 + tr(S + S' - 2 (S S')^1/2) of features (n, F) and (m, F); NaN for fewer than 2 rows.

    Biased upwards for few rows: give it beside that of two sets of real ones. Its unit is the features', squared.

    Source: Dowson & Landau 1982; as a distance of generated and real data Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """
    if min(len(first), len(second)) < 2:
        return math.nan
    first, second = first.double(), second.double()
    gap = (first.mean(0) - second.mean(0)).square().sum()
    a, b = torch.cov(first.T), torch.cov(second.T)
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp_min(0).sqrt().sum()
    return float((gap + a.trace() + b.trace() - 2 * cross).clamp_min(0))
