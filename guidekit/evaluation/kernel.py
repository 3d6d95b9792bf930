"""Squared maximum mean discrepancy of two sets of features, without bias, and its standard error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS = 32  # a block of a kernel matrix, small enough for the cache


def kernel_distance(first: Tensor, second: Tensor) -> tuple[float, float]:
    """MMD^2 of features (m, F) and (n, F) under the kernel k(x, y) = (x . y / F + 1)^3, and its standard error.

        mean of k(x_i, x_j), i != j, + mean of k(y_i, y_j), i != j, - 2 mean of k(x_i, y_j)

    Its mean does not depend on m and n, and is 0 for two sets of one law, so it is negative as often as not there. The
    standard error is the jackknife's: one row of either set left out at a time. It counts the error of both sets, and
    is about 1.4 times too large where both have one law.

    Args:
        first, second: rows of features, any real type; computed in float64.

    Returns:
        NaN for fewer than 2 rows, an error of NaN for fewer than 3.

    Source: Gretton et al. 2012, JMLR 13, eq. 3; kernel: Binkowski et al. 2018, arXiv:1801.01401, whose KID is
    the same number of Inception features.
    """
    m, n = len(first), len(second)
    if min(m, n) < 2:
        return math.nan, math.nan
    first, second = first.double(), second.double()
    within = [_sums(one, one)[0] - _kernel((one * one).sum(1) / one.shape[1] + 1) for one in (first, second)]
    across = _sums(first, second)
    a, b, c = float(within[0].sum()), float(within[1].sum()), float(across[0].sum())
    value = a / (m * (m - 1)) + b / (n * (n - 1)) - 2 * c / (m * n)
    if min(m, n) < 3:
        return value, math.nan
    less_first = (a - 2 * within[0]) / ((m - 1) * (m - 2)) + b / (n * (n - 1)) - 2 * (c - across[0]) / ((m - 1) * n)
    less_second = a / (m * (m - 1)) + (b - 2 * within[1]) / ((n - 1) * (n - 2)) - 2 * (c - across[1]) / (m * (n - 1))
    variance = sum((len(x) - 1) * float(x.var(correction=0)) for x in (less_first, less_second))
    return value, math.sqrt(variance)


def _kernel(products: Tensor) -> Tensor:
    """k where x . y / F + 1 is given."""
    return products * products * products


def _sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of k(x_i, y_j) over j, (m,), and over i, (n,)."""
    one, rows, columns = torch.ones((), dtype=x.dtype, device=x.device), [], torch.zeros_like(y[:, 0])
    for part in x.split(ROWS):
        block = _kernel(torch.addmm(one, part, y.T, alpha=1 / x.shape[1]))
        rows.append(block.sum(1))
        columns += block.sum(0)
    return torch.cat(rows), columns
