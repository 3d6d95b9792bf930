"""The only one who calls a prior's network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from guidekit.core.budget import Meter
from guidekit.core.ledger import Ledger
from guidekit.core.prediction import CategoricalPrediction, CompositePrediction, GaussianPrediction, Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Question
from guidekit.core.state import State, batch, cat, leaves, map_leaves, take

FEW = 8
"""Rows of a first answer that are looked at: a network that does not normalize normalizes none."""


class PredictionError(ValueError):
    """A network's answer that is no prediction of the states it was asked about; the message says what it is."""


class Network:
    """Asks priors, counts, and splits what is too large.

    Args:
        limit: most rows in one call; None is no limit.
        fixed: fill every call up to the limit. The last bits of a matrix product depend on the number of rows, so a
            dense network gives a row the same bits in any company only where all calls have one size.
        device: where priors are asked.
    """

    def __init__(self, limit: int | None = None, fixed: bool = False, device: torch.device | str = "cpu") -> None:
        self.limit, self.fixed, self.device = limit, fixed and limit is not None, device
        self.ledger = Ledger()
        self.meter: Meter | None = None
        self._checked: set[int] = set()
        self._moved: dict[int, tuple[Prior, Prior]] = {}

    def __call__(self, question: Question) -> Prediction:
        """The answer of the prior that is asked."""
        rows, limit, prior = batch(question.x), self.limit, question.prior
        if prior is not question.population.setup.prior:
            prior = self._here(prior)
        asked, ledger = prior.network_rows(question.x, question.t), self.ledger
        if self.meter is not None:
            self.meter.spend("network_calls", asked)
        if limit is None or (rows <= limit and not self.fixed):
            ledger.network_rows += asked
            ledger.network_calls += asked > 0
            if question.marks is not None:
                return question.marks.plans[0].answer(question, prior)
            answer = prior.predict(question.x, question.t, question.condition)
            if id(prior) not in self._checked:
                check_prediction(prior, question.x, answer)
                self._checked.add(id(prior))
            return answer
        answers: list[Prediction] = []
        for first in range(0, rows, limit):
            wanted = torch.arange(first, first + limit, device=leaves(question.x)[0].device)
            part = question.take(wanted.clamp_max(rows - 1) if self.fixed else wanted[: rows - first])
            here = slice(0, rows - first)
            time = part.t[here] if isinstance(part.t, Tensor) and part.t.ndim else part.t
            asked = prior.network_rows(take(part.x, here), time)
            ledger.network_rows += asked
            ledger.network_calls += asked > 0
            if part.marks is not None:
                answers.append(part.marks.plans[0].answer(part, prior))
            else:
                answers.append(prior.predict(part.x, part.t, part.condition))
        return take(cat(noted(answers)), slice(0, rows))

    def also_asked(self, rows: int) -> None:
        """Rows that are added to a question while it is answered."""
        if self.meter is not None:
            self.meter.spend("network_calls", rows)
        self.ledger.network_rows += rows

    def slopes(self, scores: Tensor, x: State, *, create_graph: bool = False) -> State:
        """Gradient of the scores (B,), added up, at x (B, *S), through the network; None for parts that have none."""
        self.ledger.backward_passes += 1
        return slopes(scores, x, create_graph=create_graph)

    def _here(self, prior: Prior) -> Prior:
        """Another prior on the device of the run."""
        if id(prior) not in self._moved:
            self._moved[id(prior)] = (prior, prior.to(self.device))
        return self._moved[id(prior)][1]


def noted(answers: list[Prediction]) -> list[Prediction]:
    """Answers to pieces with the same notes: those that a piece lacks, as nothing was asked there, are zero."""
    noted = {owner: note for answer in answers for owner, note in answer.notes.items()}
    for owner, note in noted.items():
        for place, answer in enumerate(answers):
            if owner not in answer.notes:
                rows = batch(answer.plain())
                empty = map_leaves(lambda leaf, rows=rows: leaf.new_zeros(rows, *leaf.shape[1:]), note)
                answers[place] = answer.noting(owner, empty)
    return answers


def slopes(scores: Tensor, x: State, *, create_graph: bool = False) -> Any:
    """Gradient of the scores (B,), added up, at x (B, *S); None for parts that have none."""
    sources = [leaf for leaf in leaves(x) if leaf.requires_grad]
    found = torch.autograd.grad(scores, sources, torch.ones_like(scores), create_graph=create_graph, allow_unused=True)
    if len(found) == 1 and sources[0] is x:
        return found[0]
    rest = iter(found)

    def its(leaf: Tensor) -> Any:
        return next(rest) if leaf.requires_grad else None

    return map_leaves(its, x)


def differentiable(leaf: Tensor) -> Tensor:
    """A real tensor as a place to differentiate at; others as they are."""
    return leaf.detach().requires_grad_() if leaf.is_floating_point() else leaf


def check_prediction(prior: Prior, x: State, prediction: Prediction) -> None:
    """Raise `PredictionError` where a prediction is none of states x (B, *S)."""
    name = prior.name
    if isinstance(prediction, CompositePrediction):
        for key, part in prediction.parts.items():
            check_prediction(prior, x.parts[key], part)
    elif isinstance(prediction, GaussianPrediction):
        if prediction.mean.shape != x.shape:
            raise PredictionError(
                f"{name}: the clean estimate has shape {tuple(prediction.mean.shape)}, the states {tuple(x.shape)}"
            )
        if not bool(prediction.mean.isfinite().all()):
            raise PredictionError(f"{name}: the clean estimate has entries that are NaN or infinite")
    elif isinstance(prediction, CategoricalPrediction):
        log_probs = prediction.log_probs
        if log_probs.ndim != 3 or log_probs.shape[:2] != x.shape:
            raise PredictionError(
                f"{name}: log-probabilities have shape {tuple(log_probs.shape)}; expected {(*x.shape, 'V')}"
            )
        total = torch.logsumexp(log_probs[:FEW], -1)
        if not bool((total.abs() < 1e-3).all()):
            raise PredictionError(f"{name}: the probabilities of a token do not add up to one: apply log_softmax")
    else:
        raise PredictionError(f"{name}: predict gave {type(prediction).__name__}; a Prediction is expected")


__all__ = ["Network", "PredictionError", "check_prediction", "differentiable", "noted", "slopes"]
