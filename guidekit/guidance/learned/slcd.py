"""Guidance by a learned law of the reward: one small network in place of searches or gradients through the prior."""

from __future__ import annotations

from collections.abc import Callable

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.guidance.gradient.noisy import ClassifierGuidance
from guidekit.guidance.transition.classifier import DCBG
from guidekit.guidance.values.learned import LearnedValue
from guidekit.processes import DiscreteProcess
from guidekit.registry import register


@register("guidance", "slcd")
def SLCD(  # noqa: N802 - a preset
    value: LearnedValue,
    eta: float = 1.0,
    scale: float | Callable[[float], float] = 1.0,
    first_order: bool = True,
) -> Guidance:
    """Sampling towards p(x_0) exp(eta r(x_0)) by the learned soft value f = log E[exp(eta r(x_0)) | x_t].

    Real-valued states: score + scale * grad f (`ClassifierGuidance`). Tokens: the step's law of every token times
    exp(scale * change of f), by one gradient or by all edits (`DCBG`); the authors' code adds the gradient, averaged
    over the batch, to unnormalized probabilities instead, which makes a sample depend on its batch. eta may change from
    run to run without training. One pass of the small network forward and back a step.

    Args:
        value: made by `guidekit.training.values.train_value` or `load_value`.
        eta: 1 / temperature, in units of 1 / reward.
        scale: multiplies the change, a number or a function of t; 0 is unguided.
        first_order: of tokens: one gradient in place of L V evaluations.

    Raises:
        GuidanceError: the value is no learned one.

    Source: Oertell et al. 2025, arXiv:2505.21666, algorithm 2.
    """
    if not isinstance(value, LearnedValue):
        raise GuidanceError(f"SLCD needs a learned value, and got {type(value).__name__}: see load_value")
    soft = value.at(eta)
    if isinstance(value.process, DiscreteProcess):
        return DCBG(scale=scale, value=soft, first_order=first_order)
    return ClassifierGuidance(soft, scale)
