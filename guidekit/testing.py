"""Checks that every guidance, prior and domain must pass; public, so that other packages can run them on their own.

Each check takes plain objects, raises AssertionError with a sentence that names the broken property, and needs no test
framework.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, chain
from guidekit.core.loop import populate, prepare
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.state import State, leaves, take
from guidekit.domain import Domain, load_domain
from guidekit.objectives.objects import score
from guidekit.priors.chain import CategoricalChain
from guidekit.registry import settings
from guidekit.samples import Samples
from guidekit.sampling import Result, sample


class _Counted:
    """Mixed into the class of a prior: counts the rows it is asked for."""

    counts: dict[str, int]

    def predict(self, x: State, t: Any, condition: State | None = None) -> Any:
        """Count, then ask the prior."""
        self._count(x)
        return super().predict(x, t, condition)  # type: ignore[misc]

    def features(self, x: State, t: Any, condition: State | None = None) -> Tensor:
        """As `predict`, for guidance that asks for the network's features."""
        self._count(x)
        return super().features(x, t, condition)  # type: ignore[misc]

    def _count(self, x: State) -> None:
        asked = self.network_rows(x)  # type: ignore[attr-defined]
        self.counts["calls"] += asked > 0
        self.counts["rows"] += asked

    def to(self, device: Any) -> Any:
        """Stay the same object, so that the counts are seen."""
        return self


def counting(prior: Prior) -> Any:
    """A copy of a prior that counts the rows it is asked for, in `counts`."""
    new = copy.copy(prior)
    new.__class__ = type(f"Counting{type(prior).__name__}", (_Counted, type(prior)), {})
    vars(new)["counts"] = {"calls": 0, "rows": 0}
    return new


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
    ledger = sample(priors[0], _counted(guidance, priors), num_samples, **options).ledger
    rows, calls = (sum(one.counts[name] for one in priors) for name in ("rows", "calls"))
    assert ledger.network_rows == rows, f"{ledger.network_rows} rows in the ledger, {rows} asked for"
    assert ledger.network_calls == calls, f"{ledger.network_calls} calls in the ledger, {calls} made"


def _counted(guidance: Guidance | None, priors: list[Any]) -> Guidance | None:
    """The guidance with every prior among its settings counted as well."""
    members = [_with_counted(member, priors) for member in (guidance.members if guidance is not None else ())]
    return chain(*members) if members else None


def _with_counted(value: Any, priors: list[Any]) -> Any:
    """A guidance, branch or tuple with the priors in its fields counted."""
    if isinstance(value, Prior):
        priors.append(counting(value))
        return priors[-1]
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        new = tuple(_with_counted(each, priors) for each in value)
        return value if all(a is b for a, b in zip(new, value, strict=True)) else new
    if not dataclasses.is_dataclass(value) or isinstance(value, type | Sampler):
        return value
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    made = {name: _with_counted(each, priors) for name, each in fields.items()}
    changed = {name: each for name, each in made.items() if each is not fields[name]}
    return dataclasses.replace(value, **changed) if changed else value


def check_domain(domain: Domain, num_samples: int = 4, **options: Any) -> Samples:
    """Run the contract of a domain: what commands call, on samples of its default prior; returns these.

    Args:
        domain: registered; best as it is made without settings.
        num_samples: drawn.
        options: of `guidekit.sample` (steps, condition, ...).
    """
    assert type(load_domain(domain.name)) is type(domain), f"the name {domain.name} is registered for another domain"
    before, prior = repr(domain), domain.load_prior()
    result = sample(prior, None, num_samples, **options)
    samples = Samples(result.samples, prior)
    assert len(samples.objects) == num_samples, f"{num_samples} states decode to {len(samples.objects)} objects"
    check_codec(domain, prior)
    for name, kind in domain.kinds.items():
        if not any(setting.required for setting in settings(kind)):
            scores = score(prior, domain.rewards[name], result.samples)
            assert scores.shape == (num_samples,), f"reward {name}: scores of shape {tuple(scores.shape)}"
            assert not scores.isnan().any(), f"reward {name} scored NaN"
    check_reports(domain, samples)
    for name in domain.priors():
        domain.load_prior(name)
    try:
        domain.load_prior("no such prior")
    except ValueError:
        pass
    else:
        raise AssertionError("any name of a prior is taken: raise UnknownNameError, see Domain.checkpoint")
    assert repr(domain) == before, "the domain was changed by what was done with it"
    again = [one is None for one in prior.decode(result.samples)]
    assert again == [one is None for one in samples.objects], "states no longer decode as before"
    return samples


def check_codec(domain: Domain, prior: Prior) -> None:
    """Real objects become states of the prior, and these are objects again."""
    real = list(domain.reference(prior=prior))[:3]
    if not real:
        return
    states = prior.encode(real)
    if isinstance(states, torch.Tensor):
        assert states.shape[1:] == prior.event_shape, f"encode gave {tuple(states.shape)}, not (B, *{prior.event_shape})"
    back = prior.decode(states)
    assert len(back) == len(real), f"{len(real)} objects became {len(back)}"
    assert all(one is not None for one in back), "a real object is no object after encode and decode"
    assert prior.decode(take(states, slice(0, 1)))[0] is not None, "a state decodes otherwise without its batch mates"


def check_reports(domain: Domain, samples: Samples) -> None:
    """Tables, figures and files of samples are what commands expect."""
    rows, values = domain.table(samples), [math.nan] * len(samples)
    assert len(rows) == len(samples), f"{len(rows)} rows of the table for {len(samples)} samples"
    assert all("valid" in row for row in rows), "rows of the table have no column valid"
    told = [row["valid"] and one is None for row, one in zip(rows, samples.objects, strict=True)]
    assert not any(told), "a state without an object is told to be valid"
    for what, figures in (
        ("summary", domain.summary(rows, values, samples)),
        ("evaluate", domain.evaluate(samples.objects, prior=samples.prior)),
    ):
        assert isinstance(figures, Mapping), f"{what} gave {type(figures).__name__}; a mapping of figures is expected"
    with tempfile.TemporaryDirectory() as folder:
        named = domain.write(Path(folder), samples, {"reward": values})
        picture = domain.figure(samples, values, "reward", Path(folder, "figure.png"))
        for name in [*named, *([picture] if picture is not None else [])]:
            assert Path(folder, name).exists(), f"{name} was named and not written"


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
        guidance: one, or a chain.
        steps: of the time grid.
        condition: class, for chains with conditionals.
        weighted: multiply in the log-weights of proposals (`DiscreteFKC`, tilted kernels): the sum of the result is
            then the normalizer, and its normalized form what weighted particles estimate.

    Returns:
        (V, ..., V) float64.
    """
    states = prior.states()
    n = len(states)
    rows = None if condition is None else torch.full((n,), condition)
    setup = prepare(prior, guidance, sampler=sampler, steps=steps, groups=(0, n), condition=rows)
    setup = dataclasses.replace(setup, weighted=weighted)
    measure = prior.limit_law()
    with torch.no_grad():
        for step in setup.steps:
            proposal = setup.propose(populate(setup, states, step.start, 1), step)
            columns = []
            for target in states:
                at = target.expand(n, -1)
                log_prob = proposal.kernel.log_prob(at)
                if weighted:
                    log_prob = log_prob + proposal.log_ratio(at)
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
