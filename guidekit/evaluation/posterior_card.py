"""A card of a posterior solver: coverage, spread and bias together, and one word for them."""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor

from guidekit.evaluation import calibration
from guidekit.evaluation.calibration import mean_with_error
from guidekit.evaluation.two_samples import c2st

COVERAGE = (0.88, 0.92)
"""Of regions of 90 %, within which draws are called calibrated."""

SPREAD = (0.95, 1.10)
"""Posterior std over the exact one, likewise."""

BIAS = 0.30
"""Error of the posterior mean in posterior stds, at most; an error of .3 takes about one point of coverage."""

POINT = 0.10
"""Spread below which there is no posterior, but one answer."""

LOST = 1e3
"""A draw with a number so many times beyond all truths, or none at all, has diverged."""

FEWEST = 20
"""Problems below which no classifier is trained."""

WORDS = ("calibrated", "narrow", "wide", "biased", "point")


class DivergedError(ValueError):
    """No draws are left to be judged."""


@dataclasses.dataclass(frozen=True)
class Card:
    """What a solver's draws are worth.

    Attributes:
        coverage: of central regions of 90 %, mean over statistics and problems.
        error: its standard error over problems.
        half: the same of regions of 50 %.
        spread: std over that of the exact posterior; where there is none, 1 / root mean square of `z_scores`, which
            counts a bias that differs between problems as narrowness.
        bias: of the mean in exact posterior stds; where there is none, the largest mean of `z_scores` over problems,
            less two standard errors.
        ranks: p of the chi-square tests of ranks, Bonferroni-corrected.
        tarp: p of the test of `calibration.tarp`.
        told: accuracy by which a classifier tells draws from exact ones, see `c2st`; NaN where there are none.
        problems: P of which no draw was lost.
        failed: P of which one was.
    """

    coverage: float
    error: float
    half: float
    spread: float
    bias: float
    ranks: float
    tarp: float
    told: float
    problems: int
    failed: int = 0

    @property
    def verdict(self) -> str:
        """One word, see `word`; biased at best where draws were lost."""
        found = word(self.coverage, self.spread, self.bias)
        return "biased" if self.failed and found == WORDS[0] else found


def word(coverage: float, spread: float, bias: float) -> str:
    """One of `WORDS`: calibrated within all intervals above, else the first of these that is true.

    point: hardly any spread. biased: the mean is off by more than `BIAS`. narrow: less spread or coverage than allowed.
    wide: more.
    """
    if math.isnan(coverage) or spread < POINT:
        return "point" if spread < POINT else "biased"
    if bias > BIAS:
        return "biased"
    if spread < SPREAD[0] or coverage < COVERAGE[0]:
        return "narrow"
    return "wide" if spread > SPREAD[1] or coverage > COVERAGE[1] else "calibrated"


def card(truths: Tensor, draws: Tensor, exact: Tensor | None = None, directions: int = 32, points: int = 1000) -> Card:
    """The card of draws (P, S, D) for truths (P, D); problems with a draw that is lost are counted and left out.

    Statistics are sums along random directions, whose coverage is that of the whole posterior, not of its coordinates.

    Args:
        truths: (P, *S), drawn from the prior.
        draws: (P, draws, *S), of measurements of the truths.
        exact: (P, R, *S), draws from the exact posteriors; None where nobody has them.
        directions: number of statistics.
        points: that a classifier is trained on, of either set; 0 is none.

    Raises:
        DivergedError: no problem is left: all have lost draws.
        ValueError: shapes that do not fit.
    """
    truths, draws = truths.flatten(1), draws.flatten(2)
    fine = (draws.abs() < LOST * (truths.abs().amax() + 1e-12)).flatten(1).all(1)
    if not bool(fine.any()):
        raise DivergedError(f"none of {len(truths)} problems has kept its draws: they have diverged")
    flat_draws = draws[fine]
    seen, made = (calibration.projected(one, directions) for one in (truths[fine], flat_draws))
    inside = calibration.coverage(seen, made, 0.9)
    if exact is not None:
        known = calibration.projected(exact.flatten(2)[fine], directions)
        spread, off = calibration.spread(made, known), calibration.bias(made, known)
    else:
        z = calibration.z_scores(seen, made)
        spread = 1 / math.sqrt(float(z.square().mean()))
        known = None
        means = z.mean(0).abs() - 2 * z.std(0) / math.sqrt(len(z))
        off = max(float(means.max()), 0.0) if len(z) > 1 else 0.0
    told = math.nan
    if known is not None and points and len(made) >= FEWEST:
        told = c2st(_standard(made, known, points), _standard(known, known, points))[0]
    found = calibration.uniform_ranks(calibration.ranks(seen, made), made.shape[1])
    shares = calibration.tarp(truths[fine], flat_draws)
    covered, error = mean_with_error(inside)
    return Card(
        coverage=covered,
        error=error,
        half=mean_with_error(calibration.coverage(seen, made, 0.5))[0],
        spread=spread,
        bias=off,
        ranks=found.least,
        tarp=float(calibration.uniform_shares(shares).p),
        told=told,
        problems=int(fine.sum()),
        failed=int((~fine).sum()),
    )


def _standard(draws: Tensor, exact: Tensor, points: int, columns: int = 8) -> Tensor:
    """Up to so many points of all problems, each in units of its exact posterior, and the first columns of them."""
    each = min(draws.shape[1], max(1, points // len(draws)))
    standard = (draws[:, :each] - exact.mean(1, keepdim=True)) / exact.std(1, keepdim=True).clamp_min(1e-12)
    return standard[..., :columns].flatten(0, 1)
