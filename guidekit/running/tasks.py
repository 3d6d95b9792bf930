"""Tasks on a given object, from configuration: what was measured of it takes the place of a reward."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, chain
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.guidance.starts.from_sample import FromSample
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.objectives.tasks import Task, make, observe
from guidekit.samples import Samples

COMMON = ("name", "input", "second", "noise_std", "damaged")
"""Settings that all tasks share; the others go to the task."""


@dataclasses.dataclass(frozen=True)
class Given:
    """A task with the object it is about.

    Args:
        task: the task.
        original: the object, or two that are joined, (1, *S).
        likelihood: of what was measured of it.
        truth: what results are compared with, (1, *S); None where nobody knows it.
        notes: what is to be known about the files that were read.
        prior: whose states these are.
    """

    task: Task
    original: Tensor
    likelihood: GaussianLikelihood
    truth: Tensor | None
    notes: list[str]
    prior: Prior

    def guided(self, guidance: Guidance | None) -> Guidance:
        """The guidance, from where the task starts."""
        if guidance is None:
            raise GuidanceError(f"task={self.task.name} needs a guidance that obeys it: guidance=dps or replacement")
        return guidance if self.task.start == 1 else chain(guidance, FromSample(self.original, self.task.start))

    def judged(self, samples: Tensor) -> dict[str, list[float]]:
        """Columns of a table, see `Task.judge`."""
        truth = None if self.truth is None else self.truth.to(samples)
        found = self.task.judge(samples, self.likelihood.y.to(samples), truth)
        return {name: column.tolist() for name, column in found.items()}

    def panels(self) -> dict[str, Samples]:
        """States (1, *S) to draw beside the results."""
        shown = {"known": self.task.shown(self.likelihood.y)}
        if self.task.join is not None:
            shown = {"cross-fade": self.original, **shown}
        elif self.truth is not None:
            shown = {"original": self.original, **shown}
        return {name: Samples(states, self.prior) for name, states in shown.items()}


def build_task(domain: Domain, config: Mapping[str, Any] | None, prior: Prior) -> Given | None:
    """A task from configuration; None without one.

    Args:
        domain: whose reader and tasks are used.
        config: of the task group.
        prior: that is sampled.

    Raises:
        UnknownNameError: the domain has no such task.
        ValueError: a domain without tasks, no input or an unreadable one, or settings outside their ranges.
    """
    if not config or config.get("name") is None:
        return None
    if not domain.tasks:
        raise ValueError(f"domain {domain.name} has no tasks; leave task= out")
    task = make(
        domain.tasks, config["name"], tuple(prior.event_shape), {k: v for k, v in config.items() if k not in COMMON}
    )
    original, notes = _read(domain, config, "input", prior)
    truth = None if config["damaged"] else original
    if task.join is not None:
        second, more = _read(domain, config, "second", prior)
        original, truth, notes = task.join(original, second), None, notes + more
    measured = GaussianLikelihood(task.operator, observe(original, task), config["noise_std"])
    return Given(task, original, measured, truth, notes, prior)


def _read(domain: Domain, config: Mapping[str, Any], key: str, prior: Prior) -> tuple[Tensor, list[str]]:
    """The state (1, *S) of the object named by a setting, and notes on it."""
    value, setting = config.get(key), f"task.{key}"
    shipped = domain.reference(prior=prior)
    numbers = f"a number from 0 to {len(shipped) - 1} (shipped test {domain.objects})"
    if value is None:
        raise ValueError(f"task={config['name']} needs {setting}=, a file of {domain.objects} or {numbers}")
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(shipped):
            raise ValueError(f"{setting}={value}; a file of {domain.objects} or {numbers} is expected")
        return prior.encode([shipped[value]]), []
    objects = domain.read_reference(Path(str(value)), prior=prior)
    notes = [objects.notes] if objects.notes else []
    if len(objects) > 1:
        notes.append(f"{value} holds {len(objects)} {domain.objects}; the first is taken")
    return prior.encode(objects[:1]), notes
