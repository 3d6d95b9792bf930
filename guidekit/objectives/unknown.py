"""Measurements by an operator that is only known to be one of several: blind restoration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import together
from guidekit.objectives.gaussian import GaussianNoise

Rows = tuple[Any, ...] | None


@dataclasses.dataclass(frozen=True, eq=False)
class OneOf(Objective[Rows]):
    """log sum_k weights_k p(y | x_0, operator k): which operator it was is averaged over, for each sample by itself.

    Its gradient is that of the likelihoods, each by how probable its operator is for the present estimate; there is
    nothing to be tuned, and on analytic priors the posterior is the mixture of those of the operators. A blur of
    unknown width is a likelihood for each of some widths.

    Args:
        likelihoods: of the same measurement, by different operators; nats.
        weights: probabilities of the operators, above 0, their sum does not matter; None is all alike.

    Raises:
        ValueError: no likelihood, or weights that do not fit.
    """

    likelihoods: tuple[GaussianNoise, ...]
    weights: Sequence[float] | None = None
    differentiable = True
    floor = None

    def __post_init__(self) -> None:
        """Refuse none, and weights that do not fit."""
        object.__setattr__(self, "likelihoods", tuple(self.likelihoods))
        if not self.likelihoods or not all(isinstance(one, GaussianNoise) for one in self.likelihoods):
            raise ValueError("OneOf takes Gaussian likelihoods, one for each operator that it may have been")
        if self.weights is not None and (len(self.weights) != len(self.likelihoods) or not min(self.weights) > 0):
            raise ValueError(f"{self.weights} are no weights above 0 of {len(self.likelihoods)} likelihoods")

    @property
    def name(self) -> str:
        """Of the likelihoods."""
        return f"one of {len(self.likelihoods)} of {self.likelihoods[0].name}"

    @property
    def parts(self) -> frozenset[str] | None:  # type: ignore[override]
        """Of all likelihoods."""
        return together([one.parts for one in self.likelihoods])

    def check(self, prior: Prior) -> None:
        """See `Objective.check`."""
        for one in self.likelihoods:
            one.check(prior)

    def rows(self, samples: int) -> Rows:
        """See `Objective.rows`: one a likelihood."""
        held = tuple(one.rows(samples) for one in self.likelihoods)
        return None if all(each is None for each in held) else held

    def joint(self, states: Any, t: Number = 0.0, rows: Rows = None) -> Tensor:
        """log weights_k + log p(y | x_0, operator k), (B, K) nats; their softmax says which operator it was."""
        each = rows or (None,) * len(self.likelihoods)
        found = torch.stack([one.scores(states, t, own) for one, own in zip(self.likelihoods, each, strict=True)], 1)
        weights = torch.ones(len(self.likelihoods)) if self.weights is None else torch.tensor(self.weights)
        return found + (weights / weights.sum()).log().to(found)

    def scores(self, states: Any, t: Number, rows: Rows) -> Tensor:
        """log p(y | x_0) in nats, (B,)."""
        return torch.logsumexp(self.joint(states, t, rows), 1)
