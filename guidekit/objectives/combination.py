"""Sums of objectives with given weights; products and single sums are written `a * b`, `a + b`."""

from __future__ import annotations

from collections.abc import Sequence

from guidekit.core.objective import Objective, Sum


def weighted(terms: Sequence[Objective], weights: Sequence[float] | None = None) -> Objective:
    """sum_k weights_k terms_k.

    Args:
        terms: objectives; each looks at what it wants to see.
        weights: one a term; None is 1 for each.

    Raises:
        ValueError: weights that do not match the terms, or no term at all.
    """
    weights = [1.0] * len(terms) if weights is None else list(weights)
    if len(weights) != len(terms):
        raise ValueError(f"{len(weights)} weights for {len(terms)} rewards; one each is needed")
    pairs = zip(weights, terms, strict=True)
    return Sum(tuple((weight * own, part) for weight, term in pairs for own, part in term.terms))
