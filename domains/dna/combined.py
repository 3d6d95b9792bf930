"""Combinations of rewards of DNA tokens, kept as fast and as differentiable as their terms."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from guidekit.objectives import Negation, Product, Sum

from .relaxed import TokenReward


class Combined(TokenReward):
    """A sum, product or negation of token rewards as a token reward: one call a batch.

    Args:
        function: the combination.
        name: for tables.
    """

    differentiable = False

    def __init__(self, function: Sum | Product | Negation, name: str) -> None:
        self.function, self.name, self.floor = function, name, function.floor

    def _values(self, tokens: Tensor) -> Tensor:
        return self.function(tokens)


class RelaxedCombined(Combined):
    """A combination of differentiable terms, itself differentiable."""

    differentiable = True

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """The combination (B,) of the relaxed terms."""
        if isinstance(self.function, Negation):
            return -self.function.term.relaxed(probabilities)
        return dataclasses.replace(self.function, terms=[t.relaxed for t in self.function.terms])(probabilities)


def terms_of(function: Any) -> list[Any]:
    """The parts of a combination of rewards; empty for anything else."""
    if isinstance(function, Negation):
        return [function.term]
    return list(function.terms) if isinstance(function, Sum | Product) else []


def token_reward(function: Any, name: str) -> TokenReward | None:
    """The reward of tokens behind a function of sequences, where there is one."""
    if getattr(function, "of_states", False):
        return function
    terms = terms_of(function)
    # Nested combinations are left to the slow way, one sequence at a time.
    if terms and all(getattr(term, "of_states", False) for term in terms):
        return (RelaxedCombined if all(term.differentiable for term in terms) else Combined)(function, name)
    return None
