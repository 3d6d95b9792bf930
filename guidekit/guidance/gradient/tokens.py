"""Gradients where states are tokens: the predicted law of every token is tilted by a relaxed reward.

log p(x_0^l = v) becomes log p(x_0^l = v) + k dR/dp_lv, with R the relaxed reward, a function of the predicted
probabilities. Exact where the reward is a sum over tokens and these are independent given the noisy ones; otherwise
what the change of one token says about the others is left out.
"""

from __future__ import annotations

from typing import Any

import torch

from guidekit.core.prediction import CategoricalPrediction, normalized
from guidekit.core.state import altered


def tilted(prediction: CategoricalPrediction, reward: Any, strength: float, times: int = 1) -> CategoricalPrediction:
    """The prediction tilted `times` times in a row, each time by the gradient at the law it has by then.

    Args:
        prediction: of tokens.
        reward: has `relaxed(probabilities (B, L, V)) -> (B,)`, differentiable.
        strength: k, of the whole.
        times: steps it is taken in, each of k / times.
    """
    logits = prediction.log_probs
    for _ in range(times):
        with torch.enable_grad():
            probs = logits.exp().detach().requires_grad_()
            (gradient,) = torch.autograd.grad(reward.relaxed(probs).sum(), probs)
        gradient = prediction.support.keep(gradient)
        logits = normalized(logits + (strength / times) * gradient.to(logits), logits)
    branches = None if prediction.branches is None else prediction.branches.bent()
    return altered(prediction, log_probs=logits, branches=branches)


__all__ = ["tilted"]
