"""Branches: what a contrast asks the network, as changes of (x, t, condition, network)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidekit.core.guidance import Ask, Denoiser, GuidanceError
from guidekit.core.prediction import Prediction
from guidekit.core.state import State, batch, take, map_leaves

if TYPE_CHECKING:
    from guidekit.core.run import Run
    from guidekit.core.prior import Prior, Time

Condition = Callable[["Run", State | None, int], State | None]
"""(run, the run's own condition, rows) -> a condition with that many rows, or None for the null one."""


def same(run: Run, condition: State | None, rows: int) -> State | None:
    """The condition the sample is made for."""
    return condition


def null(run: Run, condition: State | None, rows: int) -> State | None:
    """No condition, in the way the network was trained to have none."""
    return None


@dataclasses.dataclass(frozen=True)
class Given:
    """One fixed condition: a row without the batch, or what `Prior.condition` takes."""

    value: Any

    def __call__(self, run: Run, condition: State | None, rows: int) -> State:
        """The condition in every row."""
        return repeated(run, as_row(run, self.value), rows)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A condition drawn anew for every sample and step, independent of the sample.

    Args:
        values: what to draw from, each what `Prior.condition` takes; None is all the prior knows, see `any_condition`.
        weights: of the values; None is equal.
        purpose: of the random numbers.
    """

    values: Sequence[Any] | None = None
    weights: Sequence[float] | None = None
    purpose: str = "condition"

    def __call__(self, run: Run, condition: State | None, rows: int) -> State:
        """One condition a row."""
        draw = run.draw(self.purpose)
        if self.values is None:
            return any_condition(run, draw.uniform((rows, label_count(run.prior))))
        u = draw.uniform((rows,))
        weights = torch.ones(len(self.values)) if self.weights is None else torch.tensor(self.weights)
        edges = (weights.double().cumsum(0) / weights.double().sum()).to(u.device)
        which = torch.searchsorted(edges, u, right=True).clamp_max(len(edges) - 1)
        table = [as_row(run, value).to(run.device) for value in self.values]
        return torch.stack(table)[which]


def label_count(prior: Prior) -> int:
    """Labels in a condition of a prior; 1 for class indices."""
    return max(1, len(getattr(prior, "labels", ())))


def any_condition(run: Run, u: Tensor) -> Tensor:
    """Conditions from uniform numbers u (B, K): every label uniform over its values, class indices by their weights."""
    labels = getattr(run.prior, "labels", ())
    if labels:
        sizes = torch.tensor([len(label.values) for label in labels], device=u.device)
        return (u * sizes).long().clamp_max(sizes - 1)
    edges = class_weights(run.prior).double().cumsum(0).to(u.device)
    return torch.searchsorted(edges / edges[-1], u[:, 0].contiguous(), right=True).clamp_max(len(edges) - 1)


def class_weights(prior: Prior) -> Tensor | None:
    """How likely each class is, (C,), for priors whose condition is a class index; None where that is not known."""
    if hasattr(prior, "log_w"):  # a mixture
        return prior.log_w.exp()
    laws = getattr(prior, "laws", getattr(prior, "_log_laws", None))  # one per class, the last without condition
    return None if laws is None or len(laws) < 2 else torch.ones(len(laws) - 1)


def as_row(run: Run, value: Any) -> State:
    """A condition as users write it, as one row without the batch."""
    if getattr(run.prior, "labels", ()):
        return run.prior.condition(value)[0]
    if isinstance(value, str):
        raise GuidanceError(
            f"this prior ({run.prior.name}) knows no conditions by name, and {value!r} is one: give numbers"
        )
    known = class_weights(run.prior)
    if known is not None and isinstance(value, int) and not -1 <= value < len(known):
        raise GuidanceError(f"this prior ({run.prior.name}) has the conditions 0 to {len(known) - 1}, and not {value}")
    return torch.tensor(value) if isinstance(value, int | float | list | tuple) else value


def repeated(run: Run, row: State, rows: int) -> State:
    """One row without the batch as many of them."""
    return map_leaves(lambda leaf: leaf.to(run.device).expand(rows, *leaf.shape), row)


@dataclasses.dataclass(frozen=True)
class Branch:
    """One evaluation of a denoiser.

    Args:
        condition: see `Condition`.
        prior: another prior to ask, of the same process and states; None is the run's own.
        perturbation: of the network, a `perturbed.Plan`; rows carry its code (`Run.code_of`).
        inputs: (run, x, t) -> (x', t'), what the network sees instead; None leaves the state and the time.
    """

    condition: Condition = same
    prior: Prior | None = None
    perturbation: Any = None
    inputs: Callable[[Run, State, Time], tuple[State, Time]] | None = None


CONDITIONAL, UNCONDITIONAL = Branch(), Branch(null)


def evaluate(
    inner: Denoiser,
    x: State,
    t: Time,
    condition: State | None,
    branches: Sequence[Branch],
    rows: Sequence[Tensor | None] | None = None,
) -> list[Prediction]:
    """One prediction a branch. Branches that ask one prior about states of one shape share one joined call.

    Args:
        inner: the denoiser inside the plug.
        x, t, condition: of the samples.
        branches: what to ask.
        rows: per branch the samples to ask about, (N,) int64; None is all.
    """
    run, size = inner.run, batch(x)
    asks = []
    for i, branch in enumerate(branches):
        there, time = (x, t) if branch.inputs is None else branch.inputs(run, x, t)
        given = branch.condition(run, condition, size)
        seed = None if branch.perturbation is None else branch.perturbation.seeds(run, size)
        if rows is not None and rows[i] is not None:
            there, given = take(there, rows[i]), None if given is None else take(given, rows[i])
            seed = None if seed is None else seed[rows[i]]
            time = time[rows[i]] if isinstance(time, Tensor) and time.ndim else time
        asks.append(Ask(there, time, given, run.code_of(branch.perturbation), seed))
    found: list[Prediction | None] = [None] * len(asks)
    for prior, members in _grouped(branches, asks):
        if prior is None:
            answers = inner.joined([asks[i] for i in members])
        else:
            with run.using(prior):
                answers = inner.joined([asks[i] for i in members])
        for i, answer in zip(members, answers, strict=True):
            found[i] = answer
    return found


def _grouped(branches: Sequence[Branch], asks: Sequence[Ask]) -> list[tuple[Prior | None, list[int]]]:
    groups: dict[tuple, tuple[Prior | None, list[int]]] = {}
    for i, (branch, ask) in enumerate(zip(branches, asks, strict=True)):
        shape = tuple(ask.x.shape[1:]) if isinstance(ask.x, Tensor) else None
        groups.setdefault((id(branch.prior), shape), (branch.prior, []))[1].append(i)
    return list(groups.values())


def check_prior(name: str, run: Run, other: Prior) -> None:
    """Another prior must have the process and the states of the run's own, and take its conditions."""
    prior = run.prior
    if not hasattr(other, "process") or not hasattr(other, "predict"):
        raise GuidanceError(f"{name} needs a second prior beside this one ({prior.name}), and was given {other!r}")
    if tuple(other.event_shape) != tuple(prior.event_shape) or not _same_process(other.process, prior.process):
        raise GuidanceError(
            f"{name} contrasts this prior ({prior.name}) with {other.name}, and their states or processes differ"
        )
    if run.condition is not None and other.null_condition is None:
        raise GuidanceError(f"a condition was given for this prior ({prior.name}), and {other.name} takes none")
    for plug in run.plugs:
        if getattr(plug, "replaces_network", False):
            raise GuidanceError(
                f"{type(plug).__name__} belongs to the network of this prior ({prior.name}): not with {name}"
            )


def _same_process(a: object, b: object) -> bool:
    return type(a) is type(b) and _settings(a) == _settings(b)


def _settings(process: object) -> Mapping[str, str]:
    return {field.name: repr(getattr(process, field.name)) for field in dataclasses.fields(process)}
