"""A black box asked around the clean estimate: scores of many displaced copies, and gradients estimated from them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidekit.core.budget import SpentError
from guidekit.core.network import Network
from guidekit.core.objective import Objective, ScoreError
from guidekit.core.owner import Owner
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.core.random import keyed_generator
from guidekit.core.requirements import GuidanceError
from guidekit.core.state import batch, column, leaves, take
from guidekit.errors import UnknownNameError
from guidekit.guidance.gradient.places import displaced, each
from guidekit.objectives.worker import reason

if TYPE_CHECKING:
    from guidekit.core.question import Question

PIECE = 64
"""Copies of a row that are scored in one call."""

KINDS = ("central", "forward")
FAILED = "a score that is not finite beside the clean estimate"


@dataclasses.dataclass(frozen=True)
class Probes:
    """Where and of what a black box is asked.

    Args:
        owner: of the random numbers.
        question: whose rows are asked about.
        objective: the black box, of what is predicted.
    """

    owner: Owner
    question: Question
    objective: Objective

    @property
    def network(self) -> Network:
        """Of the run, which counts."""
        return self.question.population.setup.network

    def noises(self, prediction: Prediction, count: int, purpose: str) -> Iterator[Any]:
        """Standard normal directions, trees like the prediction with leaves (B, n, *S), `PIECE` copies at a time.

        A number is a function of the seed, the group, the step and its place: of no other row, and of no batch.
        """
        for piece, first in enumerate(range(0, count, PIECE)):
            few = min(PIECE, count - first)
            places = itertools.count()

            def drawn(part: GaussianPrediction, piece: int = piece, few: int = few, places: Any = places) -> Tensor:
                return projected(part, self._normal(part.mean, few, f"{purpose} {piece} {next(places)}"))

            yield each(drawn, prediction)

    def _normal(self, like: Tensor, count: int, purpose: str) -> Tensor:
        """(B, count, *S) of rows like (B, *S)."""
        population = self.question.population
        random, label = population.setup.random, population.setup.labels[self.owner]
        shape = (population.particles, count, *like.shape[1:])
        made = [
            torch.randn(shape, generator=keyed_generator(random.device, random.seed, group, population.key, named),
                        device=random.device, dtype=torch.float32)
            for group, named in ((random.first + i, f"{label} {purpose}") for i in range(population.groups))
        ]  # fmt: skip
        numbers = torch.cat(made)
        return (numbers if self.question.rows is None else numbers[self.question.rows]).to(like)

    @torch.no_grad()
    def scores(self, prediction: Prediction, moves: Any = None) -> Tensor:
        """Scores (B, n) float64 of clean estimates moved by (B, n, *S), NaN where there is none; n is 1 without.

        Raises:
            GuidanceError: the black box raised on all of them.
        """
        rows = batch(self.question.x)
        question, copies, n = self.question, prediction, 1
        if moves is not None:
            n = leaves(moves)[0].shape[1]
            index = torch.arange(rows, device=leaves(moves)[0].device).repeat_interleave(n)
            question, copies = question.take(index), take(prediction, index)
            copies = displaced(copies, each(lambda part, move: move.flatten(0, 1), prediction, moves))
        question.population.count_rewards(self.objective.clean_terms * rows * n)
        ledger = self.network.ledger
        found, raised = self._tried(question, copies)
        if n > 1 and len(raised) == len(found):  # one state alone may well be where a simulator diverges
            raise GuidanceError(f"{self.objective.name} {raised[0]}, on all {len(found)} states")
        wrong = ~found.isfinite()
        if bool(wrong.any()) and not getattr(self.objective, "counts_failures", False):
            for why in raised:
                ledger.count_failure(why)
            ledger.count_failure(FAILED, times=int(wrong.sum()) - len(raised))
        return found.view(rows, n).masked_fill(wrong.view(rows, n), torch.nan)

    def _tried(self, question: Question, copies: Any) -> tuple[Tensor, list[str]]:
        """Scores (B,) float64 in one call, or, where that raises, row by row; NaN and a reason for those that fail."""
        rows, device = batch(question.x), leaves(question.x)[0].device
        try:
            return question.score(self.objective, copies).double(), []
        except (ScoreError, GuidanceError, SpentError):
            raise
        except Exception as error:  # a simulator of somebody else's: one state is not worth the run
            if rows == 1:
                return torch.full((1,), torch.nan, dtype=torch.float64, device=device), [reason(error)]
        each_row = torch.arange(rows, device=device).split(1)
        found = [self._tried(question.take(row), take(copies, row)) for row in each_row]
        return torch.cat([score for score, _ in found]), [why for _, told in found for why in told]


@dataclasses.dataclass(frozen=True)
class Differences:
    """Gaussian smoothing: a gradient of differences along random directions.

    Central: mean of u (f(x + w u) - f(x - w u)) / 2w; forward: mean of u (f(x + w u) - f(x)) / w. Both are unbiased for
    linear f, the central one for quadratic f too. Their variance is about (d + 1) / directions times |gradient|^2.

    Args:
        draws: scores a gradient, two a direction where central; a forward one asks for one more.
        width: w, in the unit of states.
        kind: "central" or "forward".

    Raises:
        ValueError: settings outside their range.

    Source: Nesterov and Spokoiny 2017; as a baseline in Zheng et al. 2024, arXiv:2409.20175 (DPS-fGSG, DPS-cGSG).
    """

    draws: int = 64
    width: float = 0.01
    kind: str = "central"

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.kind not in KINDS:
            raise UnknownNameError("kind of differences", str(self.kind), KINDS)
        if not isinstance(self.draws, int) or self.draws < 2:
            raise ValueError(f"draws must be a whole number of at least 2, got {self.draws!r}")
        if not self.width > 0:
            raise ValueError(f"width must be above 0, got {self.width}")

    def gradient(self, probes: Probes, prediction: Prediction, purpose: str) -> Any:
        """Of the score at the clean estimates, a tree like them; directions with a score that is none are left out."""
        central = self.kind == "central"
        base = None if central else probes.scores(prediction)
        total, kept = None, torch.zeros(batch(probes.question.x), dtype=torch.int64)
        for noise in probes.noises(prediction, self.draws // 2 if central else self.draws, purpose):
            above = probes.scores(prediction, _times(prediction, noise, self.width))
            below = base if base is not None else probes.scores(prediction, _times(prediction, noise, -self.width))
            slope = (above - below) / (2 * self.width if central else self.width)
            kept = kept.to(slope.device) + slope.isfinite().sum(1)
            part = each(lambda part, u, slope=slope: weighed(slope.nan_to_num(0.0), u), prediction, noise)
            total = part if total is None else each(lambda part, old, new: old + new, prediction, total, part)
        return each(lambda part, sums: sums / column(kept.clamp_min(1).to(sums), sums), prediction, total)


def _times(prediction: Prediction, noise: Any, width: float) -> Any:
    return each(lambda part, u: width * u, prediction, noise)


def weighed(weights: Tensor, moves: Tensor) -> Tensor:
    """sum_j weights_j moves_j of weights (B, n) and moves (B, n, *S), (B, *S)."""
    return torch.einsum("bn,bnd->bd", weights.to(moves), moves.flatten(2)).reshape(len(moves), *moves.shape[2:])


def projected(part: GaussianPrediction, noise: Tensor) -> Tensor:
    """Noise (B, n, *S) without what is padding, or known."""
    rows, n = noise.shape[:2]
    copies = take(part, torch.arange(rows, device=noise.device).repeat_interleave(n))
    return copies.support.project(noise.flatten(0, 1)).view(noise.shape)


def estimated(estimator: Differences, probes: Probes) -> Callable[[Prediction], Tensor]:
    """A score (B,) of predictions whose gradient is the estimated one; its value is 0.

    Args:
        estimator: of the gradient at clean estimates.
        probes: where it asks; the second call asks with fresh numbers.
    """
    calls = itertools.count()

    def score(prediction: Prediction) -> Tensor:
        with torch.no_grad():
            gradient = estimator.gradient(probes, prediction, f"probes {next(calls)}")
        terms: list[Tensor] = []

        def along(part: GaussianPrediction, slope: Tensor) -> None:
            terms.append((slope * (part.mean - part.mean.detach())).flatten(1).sum(1))

        each(along, prediction, gradient)
        return torch.stack(terms).sum(0)

    return score


__all__ = ["KINDS", "PIECE", "Differences", "Probes", "estimated", "projected", "weighed"]
