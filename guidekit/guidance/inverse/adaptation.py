"""Inputs of a classifier brought back to what it was trained on, before it looks at them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, chain
from guidekit.guidance.gradient.dps import DPS
from guidekit.guidance.starts.from_sample import FromSample
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.registry import register


@register("guidance", "input_adaptation")
def InputAdaptation(  # noqa: N802 - a preset
    sample: Tensor, time: float = 0.5, scale: float = 6.0, factor: int = 4
) -> Guidance:
    """A corrupted input is noised and denoised again, its low frequencies held by a gradient: what is odd is lost.

    Steps move along -scale grad_{x_t} |phi(input) - phi(E[x_0 | x_t])|, one norm a sample, with phi the means of
    `factor` neighbors along every axis. Scale 0 is SDEdit. What a classifier says of the input and of what comes out
    is added by `self_ensemble`.

    Args:
        sample: the inputs as states, (1, *S), or one per sample.
        time: where to start; larger forgets more of the input.
        scale: of the gradient, as published for 50 steps of a variance-preserving process.
        factor: of the low frequencies.

    Raises:
        ValueError: a time outside (0, 1]; a `GuidanceError` for states of several parts.

    Source: Gao et al. 2022, arXiv:2207.03442 (DDA), algorithm 1; the released code takes one norm over the batch.
    """
    if not isinstance(sample, Tensor):
        raise GuidanceError(
            "InputAdaptation takes states of real numbers alone: give a tensor (1, *S), or one a sample"
        )
    fit = GaussianLikelihood(lambda x: low_pass(x, factor), low_pass(sample, factor), 1.0)
    return chain(DPS(fit, scale, "norm"), FromSample(sample, time))


def low_pass(x: Tensor, factor: int) -> Tensor:
    """Means of up to `factor` neighbors along every axis of states (B, C, *grid) with one to three axes."""
    axes = x.ndim - 2
    if axes < 1:
        return x
    pool: Callable[..., Tensor] = getattr(torch.nn.functional, f"avg_pool{axes}d")
    return pool(x, factor, ceil_mode=True)


@register("tool", "self_ensemble")
def self_ensemble(original: Tensor, adapted: Tensor, weighted: bool = False) -> Tensor:
    """Logits of an input and of its adaptation (B, C), added; weighted: the surer one counts more.

    Args:
        original, adapted: logits, (B, C).
        weighted: each is multiplied by the entropy of the other, over the sum of both.

    Source: Gao et al. 2022, arXiv:2207.03442, section 3.3.
    """
    if not weighted:
        return original + adapted
    entropies = [-(each.log_softmax(1) * each.softmax(1)).sum(1, keepdim=True) for each in (original, adapted)]
    total = (entropies[0] + entropies[1]).clamp_min(1e-12)
    return (entropies[1] * original + entropies[0] * adapted) / total


__all__ = ["InputAdaptation", "low_pass", "self_ensemble"]
