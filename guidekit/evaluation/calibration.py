"""Whether draws from a posterior are draws from that posterior: ranks, credible regions, TARP, means and spreads.

All take truths (P, D) of P problems, each drawn from the prior and measured anew, and draws (P, S, D) that a solver
made of each measurement; D are coordinates or any other statistics, see `projected`. No exact posterior is needed: a
truth is itself one exact draw from the posterior of its measurement. Where exact draws (P, R, D) are to be had, `bias`
and `spread` say what is wrong, and by how much. Everything is computed in float64.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Uniformity:
    """A test of numbers that are uniform where draws are calibrated.

    Attributes:
        statistic: of the test, (D,) or a scalar.
        p: probability of a statistic so large by chance, of the same shape.
    """

    statistic: Tensor
    p: Tensor

    @property
    def least(self) -> float:
        """The least p of all, times their number (Bonferroni), at most 1: of one test where there were several."""
        return min(1.0, float(self.p.min()) * self.p.numel())


def checked(truths: Tensor, draws: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    """Both in float64.

    Raises:
        ValueError: shapes other than (P, D) and (P, S, D), too few draws, or numbers that are not finite.
    """
    if truths.ndim != 2 or draws.ndim != 3 or (draws.shape[0], draws.shape[2]) != tuple(truths.shape):
        raise ValueError(
            f"truths {tuple(truths.shape)} and draws {tuple(draws.shape)}; (problems, D) and (problems, draws, D) are "
            "needed"
        )
    if draws.shape[1] < least or len(truths) < 1:
        raise ValueError(f"{len(truths)} problems of {draws.shape[1]} draws each; 1 and {least} at least are needed")
    if not (bool(truths.isfinite().all()) and bool(draws.isfinite().all())):
        raise ValueError("truths or draws have entries that are not finite: leave those problems out, and say how many")
    return truths.double(), draws.double()


def projected(values: Tensor, count: int = 32, seed: int = 0) -> Tensor:
    """Sums (..., count) of coordinates (..., D) along random directions of length 1, the same for one D and seed.

    Coordinates one by one cannot see a wrong correlation; sums of them can.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(values.shape[-1], count, generator=generator, dtype=torch.float64)
    return values.double() @ (directions / directions.norm(dim=0)).to(values.device)


def ranks(truths: Tensor, draws: Tensor) -> Tensor:
    """How many of the S draws lie below the truth, (P, D) int64: uniform on 0 .. S where draws are calibrated.

    Source: Talts et al. 2018, arXiv:1804.06788, algorithm 1. Draws of one problem have to be independent.
    """
    truths, draws = checked(truths, draws)
    return (draws < truths[:, None]).sum(1)


def uniform_ranks(found: Tensor, draws: int, bins: int = 10) -> Uniformity:
    """Chi-square test of ranks (P, D) among so many draws, a test a column; bins are as equal as draws + 1 allow.

    Args:
        found: of `ranks`.
        draws: S.
        bins: at most draws + 1 are used, and no more than leave 5 problems a bin.
    """
    problems = len(found)
    bins = max(2, min(bins, draws + 1, problems // 5))
    place = (found * bins).div(draws + 1, rounding_mode="floor")
    sizes = torch.bincount(torch.arange(draws + 1) * bins // (draws + 1), minlength=bins).double() / (draws + 1)
    counts = torch.stack([(place == one).sum(0) for one in range(bins)]).double()
    expected = problems * sizes[:, None].to(counts)
    statistic = ((counts - expected).square() / expected).sum(0)
    half = torch.full_like(statistic, 0.5 * (bins - 1))
    return Uniformity(statistic, torch.special.gammaincc(half, 0.5 * statistic))


def coverage(truths: Tensor, draws: Tensor, level: float = 0.9) -> Tensor:
    """Shares (P, D) of the central credible region of a level that hold the truth; their mean is the level.

    A truth of rank r among S draws stands for the interval of quantiles from r / (S + 1) to (r + 1) / (S + 1); what
    counts is how much of it lies in the region, so that the mean is the level for any S, and draws need not be many.

    Raises:
        ValueError: a level that is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}; a share between 0 and 1 is needed")
    count = draws.shape[1] + 1
    low = ranks(truths, draws).double() / count
    inside = (low + 1 / count).clamp_max(0.5 + level / 2) - low.clamp_min(0.5 - level / 2)
    return inside.clamp_min(0) * count


def mean_with_error(values: Tensor) -> tuple[float, float]:
    """Mean of (P, D) and its standard error over problems, as the columns of one problem are not independent."""
    rows = values.double().mean(1)
    error = float(rows.std()) / math.sqrt(len(rows)) if len(rows) > 1 else math.nan
    return float(rows.mean()), error


def z_scores(truths: Tensor, draws: Tensor) -> Tensor:
    """(truth - mean of the draws) / their std, (P, D), whose mean is 0 and mean square 1 for calibrated Gaussians.

    The factor sqrt(S / (S + 1)) makes up for the error of the mean, sqrt((S - 3) / (S - 1)) for that of the std.
    """
    truths, draws = checked(truths, draws, 5)
    count = draws.shape[1]
    known = math.sqrt(count / (count + 1) * (count - 3) / (count - 1))
    return known * (truths - draws.mean(1)) / draws.std(1).clamp_min(1e-12)


def tarp(truths: Tensor, draws: Tensor, references: Tensor | None = None, seed: int = 0) -> Tensor:
    """Shares (P,) of draws that are nearer to a reference point than the truth is; uniform where draws are calibrated.

    It sees what no coordinate shows. Coordinates are divided by the std of the truths.

    Args:
        truths, draws: see above.
        references: (P, D); None is for each problem the truth of another one, so that they lie where data are.
        seed: of that choice, and of where within its interval of shares each rank lies.

    Returns:
        (rank + a uniform number) / (S + 1), as `uniform_shares` tests them.

    Source: Lemos et al. 2023, arXiv:2302.03026, algorithm 2. References that do not depend on the measurement accept a
    solver that ignores it and draws from the prior: look at `bias` or `coverage` as well.
    """
    truths, draws = checked(truths, draws)
    generator = torch.Generator().manual_seed(seed)
    if references is None:
        references = truths[_others(len(truths), generator)]
    std = truths.std(0).clamp_min(1e-12) if len(truths) > 1 else torch.ones_like(truths[0])

    def distances(points: Tensor) -> Tensor:
        return ((points - references[:, None].to(points)) / std).norm(dim=-1)

    rank = (distances(draws) < distances(truths[:, None])).sum(1)
    return (rank + torch.rand(len(rank), generator=generator, dtype=torch.float64).to(draws)) / (draws.shape[1] + 1)


def _others(count: int, generator: torch.Generator) -> Tensor:
    """For every number below count another one, at random."""
    if count < 2:
        return torch.zeros(count, dtype=torch.int64)
    return (torch.arange(count) + torch.randint(1, count, (count,), generator=generator)) % count


def expected_coverage(shares: Tensor, levels: Tensor) -> Tensor:
    """Expected coverage (L,) at credibility levels (L,): the share of problems whose share of `tarp` is below."""
    return (shares[None] < levels[:, None].to(shares)).double().mean(1)


def uniform_shares(shares: Tensor) -> Uniformity:
    """Kolmogorov's test of shares (P,) that are uniform on [0, 1] where draws are calibrated."""
    ordered, count = shares.double().sort().values, len(shares)
    steps = torch.arange(count + 1, dtype=torch.float64, device=shares.device) / count
    gap = torch.maximum((ordered - steps[:-1]).amax(), (steps[1:] - ordered).amax())
    argument = float(gap) * (math.sqrt(count) + 0.12 + 0.11 / math.sqrt(count))
    terms = [2 * (-1) ** (k - 1) * math.exp(-2 * (k * argument) ** 2) for k in range(1, 101)]
    p = 1.0 if argument < 0.2 else min(1.0, max(0.0, sum(terms)))
    return Uniformity(gap, torch.tensor(p, dtype=torch.float64))


def spread(draws: Tensor, exact: Tensor) -> float:
    """Posterior std over the exact one: root of the ratio of mean variances, over problems and coordinates.

    Args:
        draws: (P, S, D).
        exact: (P, R, D) from the exact posterior of the same measurements.
    """
    return math.sqrt(float(draws.double().var(1).mean() / exact.double().var(1).mean()))


def bias(draws: Tensor, exact: Tensor) -> float:
    """Root mean square error of the posterior mean in exact posterior stds, free of the error of finite draws.

    Args:
        draws: (P, S, D).
        exact: (P, R, D) from the exact posterior of the same measurements.
    """
    draws, exact = draws.double(), exact.double()
    own, other = draws.var(1), exact.var(1)
    square = (draws.mean(1) - exact.mean(1)).square() - own / draws.shape[1] - other / exact.shape[1]
    return math.sqrt(max(float(square.mean() / other.mean()), 0.0))
