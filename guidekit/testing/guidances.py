"""What every guidance does on every prior that it works with."""

from __future__ import annotations

from typing import Any

import torch

from guidekit.core.guidance import Guidance
from guidekit.core.prior import Prior
from guidekit.core.state import State, leaves
from guidekit.sampling import Result, sample
from guidekit.testing.counting import counted, counting


def check_guidance(prior: Prior, guidance: Guidance | None, num_samples: int = 5, **options: Any) -> Result:
    """Run a guidance on a prior and check all properties below; returns the result for further checks.

    Args:
        prior: what is sampled; small.
        guidance: a guidance or chain.
        num_samples: groups.
        options: of `guidekit.sample` (steps, sampler, particles, condition, ...).
    """
    result = sample(prior, guidance, num_samples, **options)
    check_shapes(prior, result)
    check_reproducible(prior, guidance, result, num_samples, **options)
    check_batch_independence(prior, guidance, result, num_samples, **options)
    check_ledger(prior, guidance, num_samples, **options)
    return result


def check_shapes(prior: Prior, result: Result) -> None:
    """Samples have the prior's shape, weights belong to them, everything real is finite."""
    rows = result.log_weights.numel()
    for leaf in leaves(result.samples):
        assert len(leaf) == rows, f"{len(leaf)} samples and {rows} weights"
        assert not leaf.is_floating_point() or leaf.isfinite().all(), "a sample is not finite"
    if isinstance(result.samples, torch.Tensor):
        assert result.samples.shape[1:] == prior.event_shape, (
            f"shape {result.samples.shape[1:]}, not {prior.event_shape}"
        )
    assert result.log_weights.dtype == torch.float64, "log-weights are kept in float64"
    mask = getattr(prior.process, "mask_id", None)
    assert mask is None or not (result.samples == mask).any(), "a mask token is left in a finished sample"


def check_reproducible(
    prior: Prior, guidance: Guidance | None, result: Result, num_samples: int, **options: Any
) -> None:
    """The same seed gives the same samples."""
    again = sample(prior, guidance, num_samples, **options)
    assert _equal(again.samples, result.samples), "the same seed gave other samples"
    assert torch.equal(again.log_weights, result.log_weights), "the same seed gave other weights"


def check_batch_independence(
    prior: Prior, guidance: Guidance | None, result: Result, num_samples: int, **options: Any
) -> None:
    """A sample does not depend on what is sampled beside it."""
    for batch_size in (1, 2):
        split = sample(prior, guidance, num_samples, **{**options, "batch_size": batch_size})
        assert _close(split.samples, result.samples), f"a sample depends on its batch mates (batch_size={batch_size})"
        assert torch.allclose(split.log_weights, result.log_weights, atol=1e-6), "weights depend on the batch"
        assert torch.allclose(split.log_normalizer, result.log_normalizer, atol=1e-6), "log Z depends on the batch"


def check_ledger(prior: Prior, guidance: Guidance | None, num_samples: int, **options: Any) -> None:
    """The ledger counts exactly the rows and calls that the prior, and other priors of guidances, were asked for."""
    priors = [counting(prior)]
    ledger = sample(priors[0], counted(guidance, priors), num_samples, **options).ledger
    rows, calls = (sum(one.counts[name] for one in priors) for name in ("rows", "calls"))
    assert ledger.network_rows == rows, f"{ledger.network_rows} rows in the ledger, {rows} asked for"
    assert ledger.network_calls == calls, f"{ledger.network_calls} calls in the ledger, {calls} made"


def _equal(a: State, b: State) -> bool:
    return all(torch.equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def _close(a: State, b: State) -> bool:
    """Equal up to the rounding of dense layers, that of the largest number, and what 30 steps of a climb make of it."""

    def near(x: torch.Tensor, y: torch.Tensor) -> bool:
        if not x.is_floating_point():
            return torch.equal(x, y)
        largest = float(y.abs().max()) if y.numel() else 0.0
        return torch.allclose(x, y, rtol=1e-4, atol=5e-5 * max(1.0, largest))

    return all(near(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))
