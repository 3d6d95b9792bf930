"""Checks that every guidance and prior must pass; public, so that third-party packages can run them on their own.

Each check takes plain objects, raises AssertionError with a sentence that names the broken property, and needs no test
framework.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, chain, flatten
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.core.state import State, leaves
from guidekit.core.prior import Prior
from guidekit.priors.chain import CategoricalChain
from guidekit.samplers import Sampler
from guidekit.sampling import Result, sample


class CountingPrior:
    """A prior that counts the rows it is asked for; everything else is passed on."""

    def __init__(self, prior: Prior) -> None:
        vars(self).update(inner=prior, counts={"calls": 0, "rows": 0})

    def __getattr__(self, name: str) -> Any:
        if name in ("calls", "rows"):
            return self.counts[name]
        if name.startswith("__") or "inner" not in vars(self):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def __copy__(self) -> CountingPrior:
        """A copy of the prior, counted with this one."""
        new = CountingPrior(copy.copy(self.inner))
        vars(new)["counts"] = self.counts
        return new

    def predict(self, x: State, t: Any, condition: State | None = None):
        """Count, then ask the prior."""
        self._count(x)
        return self.inner.predict(x, t, condition)

    def features(self, x: State, t: Any, condition: State | None = None) -> Tensor:
        """As `predict`, for guidance that asks for the network's features."""
        self._count(x)
        return self.inner.features(x, t, condition)

    def _count(self, x: State) -> None:
        asked = self.inner.network_rows(x)
        self.counts["calls"] += asked > 0
        self.counts["rows"] += asked

    def to(self, device: Any) -> CountingPrior:
        """Stay the same object, so that the counts are seen."""
        return self


def check_guidance(prior: Prior, guidance: Guidance | None, num_samples: int = 5, **options: Any) -> Result:
    """Run a guidance on a prior and check all properties below; returns the result for further checks.

    Args:
        prior: what is sampled; small.
        guidance: plug or chain.
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
    """The ledger counts exactly the rows and calls that the prior, and other priors of plugs, were asked for."""
    counting = [CountingPrior(prior)]
    ledger = sample(counting[0], _counted(guidance, counting), num_samples, **options).ledger
    rows, calls = sum(one.rows for one in counting), sum(one.calls for one in counting)
    assert ledger.network_rows == rows, f"{ledger.network_rows} rows in the ledger, {rows} asked for"
    assert ledger.network_calls == calls, f"{ledger.network_calls} calls in the ledger, {calls} made"


def _counted(guidance: Guidance | None, counting: list[CountingPrior]) -> Guidance | None:
    """The guidance with every prior among its settings counted as well."""
    plugs = []
    for plug in flatten([guidance]) if guidance is not None else []:
        fields = dataclasses.fields(plug) if dataclasses.is_dataclass(plug) else ()
        others = {field.name: getattr(plug, field.name) for field in fields}
        others = {name: CountingPrior(value) for name, value in others.items() if isinstance(value, Prior)}
        counting.extend(others.values())
        plugs.append(dataclasses.replace(plug, **others) if others else plug)
    return chain(*plugs) if plugs else None


def exact_law(
    prior: CategoricalChain,
    sampler: Sampler,
    guidance: Guidance | None = None,
    steps: int = 8,
    condition: int | None = None,
    weighted: bool = False,
) -> Tensor:
    """The law a guided sampler has on an enumerable chain, by multiplying its transition matrices: no Monte Carlo.

    Covers guidance of `denoise` and `propose`.

    Args:
        prior: chain whose noisy states can be enumerated.
        sampler: whose kernels depend on the state alone.
        guidance: plug or chain.
        steps: of the time grid.
        condition: class, for chains with conditionals.
        weighted: multiply in the log-weights that kernels carry (`DiscreteFKC`, tilted proposals): the sum of the
            result is then the normaliser, and its normalised form what weighted particles estimate.

    Returns:
        (V, ..., V) float64.
    """
    states = prior.states()
    n = len(states)
    rows = None if condition is None else torch.full((n,), condition)
    run = Run(prior, sampler, guidance, steps, (0, n), condition=rows)
    measure = prior.limit_law()
    with torch.no_grad():
        for step, (t, u) in enumerate(itertools.pairwise(run.grid)):
            run.step = step
            kernel = run.propose(Population(run, n, 1, states, rows), t, u)
            columns = []
            for target in states:
                at = target.expand(n, -1)
                log_prob = kernel.log_prob(at)
                if weighted:
                    log_prob = log_prob + kernel.memory(at).get("log_ratio", 0.0)
                columns.append(log_prob.exp().nan_to_num(0.0))
            measure = measure @ torch.stack(columns, 1)
    clean = (states < prior.process.vocab_size).all(1)
    return measure[clean].reshape(prior.probabilities.shape)


def _equal(a: State, b: State) -> bool:
    return all(torch.equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def _close(a: State, b: State) -> bool:
    pairs = zip(leaves(a), leaves(b), strict=True)
    return all(
        torch.allclose(x, y, rtol=1e-4, atol=1e-5) if x.is_floating_point() else torch.equal(x, y) for x, y in pairs
    )
