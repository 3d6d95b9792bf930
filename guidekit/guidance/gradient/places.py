"""Real parts of predictions: something for each of them, moved, and differentiated at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.prediction import CompositePrediction, GaussianPrediction, Prediction
from guidekit.core.state import Composite, altered


def each(function: Callable[..., Any], prediction: Any, *trees: Any) -> Any:
    """function(part, *values) of every real part of a prediction; None for tokens, and where a value is None.

    Args:
        function: of a `GaussianPrediction` and what the trees have for it.
        prediction: of one part or several.
        trees: shaped like the prediction: states, or processes.
    """
    if isinstance(prediction, CompositePrediction):
        named = prediction.parts.items()
        parts = {name: each(function, part, *(tree.parts[name] for tree in trees)) for name, part in named}
        return Composite(parts, prediction.mask)
    if not isinstance(prediction, GaussianPrediction) or any(tree is None for tree in trees):
        return None
    return function(prediction, *trees)


def displaced(prediction: Prediction, delta: Any) -> Prediction:
    """The prediction with clean estimates moved by delta (B, *S); the noise follows, as the state stays."""
    return _means(prediction, delta, lambda part, move: part.map(lambda support, mean: mean + move))


def _means(prediction: Any, values: Any, change: Callable[..., Prediction]) -> Prediction:
    """The prediction whose real parts are changed with what a tree has for them."""
    if not isinstance(prediction, CompositePrediction):
        return prediction if values is None else change(prediction, values)
    named = prediction.parts.items()
    parts = {name: _means(part, values.parts[name], change) for name, part in named}
    branches = None if prediction.branches is None else prediction.branches.bent()
    return altered(prediction, parts=parts, branches=branches)


def clean_slopes(score: Callable[[Prediction], Tensor], prediction: Prediction) -> Any:
    """Gradient of score(prediction) (B,) at the clean estimates, a tree; the network is not looked through."""
    with torch.enable_grad():
        leaves: Any = each(lambda part: part.mean.detach().requires_grad_(), prediction)
        at = _means(prediction, leaves, lambda part, leaf: altered(part, mean=leaf))
        places: list[Tensor] = []
        each(lambda part, leaf: places.append(leaf), prediction, leaves)
        scores = score(at)
        found = iter(torch.autograd.grad(scores, places, torch.ones_like(scores), allow_unused=True))
    return each(lambda part, leaf: next(found), prediction, leaves)
