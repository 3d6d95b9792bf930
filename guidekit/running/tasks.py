"""Tasks on given objects, from configuration: what was measured of them takes the place of a reward.

Measurements are made of values in the objects' own unit; the likelihood that guides is of states, by `in_units`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError, chain
from guidekit.core.objective import Objective, ScoreError
from guidekit.core.prior import Prior
from guidekit.core.requirements import Fact
from guidekit.domain import Domain
from guidekit.errors import raised_in
from guidekit.guidance.starts.from_sample import FromSample
from guidekit.io.arrays import read_array, readable
from guidekit.objectives.fidelity import signal_to_noise
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.objectives.operators.simulator import Simulator
from guidekit.objectives.restoration import OF_ARRAYS, Plain
from guidekit.objectives.tasks import Task, make, observe
from guidekit.objectives.units import in_units
from guidekit.objectives.worker import reason
from guidekit.priors.adapters.latents import LatentCodec
from guidekit.running.functions import user_function
from guidekit.running.groups import OF_ALL_TASKS
from guidekit.samples import Samples
from guidekit.sampling import Result, fitting_guidances

COMMON = ("name", *OF_ALL_TASKS)
"""What does not go to the task."""


@dataclasses.dataclass(frozen=True)
class Given:
    """A task with the n objects it is about.

    Args:
        task: the task.
        original: states of the objects, or of two that are joined, (n, *S); None where only measurements are known.
        y: measurements, in their unit, (n, *M).
        noise: standard deviation of y that is counted with, one number or one for each object.
        likelihood: of states, with a row of y for each of the n * each samples.
        truth: values that results are compared with, (n, *S); None where nobody knows them.
        notes: what is to be known about the files that were read.
        prior: whose states these are, as the task needs it.
        each: samples of every object.
    """

    task: Task
    original: Tensor | None
    y: Tensor
    noise: Tensor
    likelihood: GaussianLikelihood
    truth: Tensor | None
    notes: list[str]
    prior: Prior
    each: int

    @property
    def num_samples(self) -> int:
        """Of the run."""
        return len(self.y) * self.each

    def guided(self, guidance: Guidance | None) -> Guidance:
        """The guidance, from where the task starts.

        Raises:
            GuidanceError: none, or one that does not look at the task; it names some that do.
        """
        if guidance is None or not any(_holds(member, self.likelihood) for member in guidance.members):
            fits = " or ".join(fitting_guidances(self.prior, self.likelihood, 3)) or "none of those here fits"
            if guidance is None:
                raise GuidanceError(f"task={self.task.name} needs a guidance that obeys it: guidance={fits}")
            names = ", ".join(member.name for member in guidance.members)
            raise GuidanceError(f"{names} would ignore task={self.task.name}: guidance={fits} would not")
        if self.task.start == 1:
            return guidance
        if self.original is None:
            raise GuidanceError(f"task={self.task.name} starts from the object, and only a measurement is known")
        return chain(guidance, FromSample(self.original.repeat_interleave(self.each, 0), self.task.start))

    def drawn(self, groups: int) -> Given:
        """The task with the objects that the first samples are about, where a budget has ended a run early."""
        n = math.ceil(groups / self.each)
        return dataclasses.replace(
            self,
            original=None if self.original is None else self.original[:n],
            y=self.y[:n],
            noise=self.noise[:n],
            truth=None if self.truth is None else self.truth[:n],
        )

    def inputs(self, result: Result) -> Tensor:
        """Number of the object that each row of a result is about, (N,); there may be fewer of the last one."""
        groups, kept = result.log_weights.shape
        return torch.arange(groups * kept) // (kept * self.each)

    def judged(self, result: Result) -> dict[str, list[float]]:
        """Columns of a table for the samples of a result; see `Task.judge`."""
        values, which = self.prior.units.values(result.samples), self.inputs(result)
        truth = None if self.truth is None else self.truth[which].to(values)
        noise = self.noise if len(self.noise) == 1 else self.noise[which]
        found = self.task.judge(values, self.y[which].to(values), truth, noise.to(values), self.prior.units.range)
        columns = {name: column.tolist() for name, column in found.items()}
        if len(self.y) > 1:
            columns["input"] = which.tolist()
        return columns

    def panels(self) -> dict[str, Samples]:
        """States (n, *S) to draw beside the results, where measurements are as large."""
        units, shown = self.prior.units, {}
        if self.y.shape[1:] == self.prior.event_shape:
            shown["known"] = units.states(self.task.shown(self.y))
        if self.original is not None and self.task.join is not None:
            shown = {"cross-fade": self.original, **shown}
        elif self.truth is not None:
            shown = {"original": units.states(self.truth), **shown}
        return {name: Samples(states, self.prior) for name, states in shown.items()}


def build_task(domain: Domain, config: Mapping[str, Any] | None, prior: Prior, each: int = 1) -> Given | None:
    """A task from configuration; None without one.

    Args:
        domain: whose readers and tasks are used.
        config: of the task group.
        prior: that is sampled.
        each: samples of every object.

    Raises:
        UnknownNameError: the domain has no such task.
        ValueError: a domain without tasks, no input or an unreadable one, or settings outside their ranges.
    """
    if not config or config.get("name") is None:
        return None
    name = str(config["name"])
    if not domain.tasks or not {Fact.REAL, Fact.WHOLE} <= prior.provides:
        raise ValueError(f"domain {domain.name} has no tasks; leave task= out")
    if isinstance(prior.codec, LatentCodec):
        raise ValueError(
            f"task={name} measures {domain.objects}, and states of {prior.name} are latents of an autoencoder: "
            "leave task= out, or give a prior of the objects themselves"
        )
    noise = _noise(config.get("noise_std", 0.05))
    prior, config = domain.for_task(prior, config)
    shape = tuple(prior.event_shape)
    options = {key: _option(key, value) for key, value in config.items() if key not in COMMON}
    task = make(domain.tasks, name, shape, options)
    original: Tensor | None = None
    truth: Tensor | None = None
    notes: list[str] = []
    if config.get("damaged"):
        y, notes = _measurements(domain, config, task, prior)
        if config.get("truth") is not None:
            truth, more = _read(domain, config, "truth", prior)
            notes = notes + more
        if y.shape[1:] == shape:
            original = prior.units.states(y)
    else:
        original, notes = _read(domain, config, "input", prior)
        if task.join is not None:
            second, more = _read(domain, config, "second", prior)
            if len(second) not in (1, len(original)):
                raise ValueError(f"task.input= has {len(original)} {domain.objects} and task.second= {len(second)}")
            original, notes = task.join(original, second.expand_as(original)), notes + more
        truth = None if task.join is not None else original
        added = config.get("add_noise") or task.noisy
        _one_each(noise, len(original), domain.objects)
        with torch.no_grad():
            y = _observed(prior.units.values(original), task, noise if added else 0.0)
    if truth is not None and len(truth) != len(y):
        raise ValueError(f"task.truth= has {len(truth)} {domain.objects} for {len(y)} measurements: give one each")
    _one_each(noise, len(y), "measurements")
    rows = y if len(y) == 1 else y.repeat_interleave(each, 0)
    std = float(noise) if len(noise) == 1 else noise.repeat_interleave(each)
    likelihood = in_units(GaussianLikelihood(task.operator, rows, std), prior.units, shape)
    truth = None if truth is None else prior.units.values(truth)
    if truth is not None and task.gap is not None:
        silent = int(signal_to_noise(truth, truth, task.gap, task.blank).isnan().sum())
        told = f"{silent} of {len(truth)} {domain.objects} have nothing in the gap: snr_gap has no value for these"
        notes = notes + ([told] if silent else [])
    return Given(task, original, y, noise, likelihood, truth, notes, prior, each)


def _observed(x: Tensor, task: Task, noise: float | Tensor = 0.0) -> Tensor:
    """As `observe`: the first that a user's operator is asked for, so that what it raises is told in one line.

    Later it may raise on some states, and ensembles and searches go on without these.
    """
    try:
        return observe(x, task, noise)
    except ScoreError:
        raise
    except Exception as error:  # the user's code, whatever it does
        operator = task.operator
        if task.name != "custom" or isinstance(operator, Simulator):
            raise
        own = operator.function if isinstance(operator, Plain) else type(operator)
        where = raised_in(error, getattr(own, "__module__", ""))
        instead = f"; {OF_ARRAYS}" if isinstance(operator, Plain) else ""
        raise ValueError(
            f"task.operator {getattr(own, '__name__', type(own).__name__)} takes a tensor of all states, here "
            f"{tuple(x.shape)}, and it {reason(error)}{where}{instead}"
        ) from error


def _noise(given: Any) -> Tensor:
    """Standard deviations (k,): of a number, or of a list with one for every input."""
    listed = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    right = all(isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one < math.inf for one in listed)
    if not listed or not right:
        raise ValueError(
            f"task.noise_std={given}; a number of at least 0 is expected, in the unit of the measurement, or a list of "
            "one for every input"
        )
    return torch.tensor([float(one) for one in listed], dtype=torch.float64)


def _one_each(noise: Tensor, count: int, what: str) -> None:
    """Refuse another number of noises than one for all, or one each."""
    if len(noise) not in (1, count):
        raise ValueError(f"task.noise_std= has {len(noise)} numbers for {count} {what}: give one for all, or one each")


def _option(key: str, value: Any) -> Any:
    """Settings that are files or code: the mask, and a user's operator."""
    if key == "mask" and value is not None:
        return _mask(Path(str(value)))
    if key == "operator" and isinstance(value, str):
        return user_function(value)
    return value


def _mask(path: Path) -> Tensor:
    """The numbers of a mask: an array file, or a picture, black where something is missing."""
    if readable(path):
        return torch.from_numpy(read_array(path).values)
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ValueError(f'reading the mask {path.name} needs pillow: pip install "guidekit[images]"') from error
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with Image.open(path, formats=("PNG", "BMP")) as image:
            return torch.tensor(list(image.convert("L").tobytes())).reshape(image.height, image.width).double()
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path.name} is damaged or no mask: a PNG, BMP, npy or npz is expected") from error


def _measurements(domain: Domain, config: Mapping[str, Any], task: Task, prior: Prior) -> tuple[Tensor, list[str]]:
    """Measurements (n, *M) that files hold, in their own unit, and notes on them."""
    shape, units = tuple(prior.event_shape), prior.units
    with torch.no_grad():
        wanted = tuple(_observed(units.values(torch.zeros(1, *shape)), task).shape[1:])
    found = [_measurement(domain, one, wanted, prior) for one in _places(domain, config, "input", prior)]
    return task.operator.within(torch.cat([y for y, _ in found])), [note for _, notes in found for note in notes]


def _measurement(domain: Domain, value: Any, wanted: tuple[int, ...], prior: Prior) -> tuple[Tensor, list[str]]:
    """Measurements of one file (n, *M), an array file or one of the domain's, and notes on it."""
    path, like_states = Path(str(value)), wanted == tuple(prior.event_shape)
    if not isinstance(value, int) and readable(path) and (path.suffix != ".npz" or not like_states):
        return refused(path.name, _in_unit(path, prior), wanted), []
    if like_states:
        states, notes = _objects(domain, value, "input", prior)
        return prior.units.values(states), notes
    return refused(path.name, domain.read_values(path, wanted), wanted), []


def _in_unit(path: Path, prior: Prior) -> Tensor:
    """The numbers of an array file, float32.

    Raises:
        ValueError: its unit is another than that of the prior's objects.
    """
    array, unit = read_array(path), prior.units.name
    if array.unit is not None and unit and array.unit != unit:
        raise ValueError(f"{path.name} is in {array.unit or 'no unit'}; {unit} is expected: convert it")
    return torch.from_numpy(array.values).float()


def refused(name: str, found: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """Measurements with a batch in front.

    Raises:
        ValueError: another shape, or numbers that are not finite.
    """
    size = tuple(found.shape)
    if size[1:] != wanted and size != wanted and (1, *size) != wanted:
        raise ValueError(f"{name} holds numbers {size}; {wanted} or n of these are expected")
    if not bool(found.isfinite().all()):
        raise ValueError(f"{name} has {int((~found.isfinite()).sum())} numbers that are NaN or infinite: mask them")
    return found if size[1:] == wanted else found.reshape(1, *wanted)


def _places(domain: Domain, config: Mapping[str, Any], key: str, prior: Prior) -> list[Any]:
    """What a setting names: files and numbers."""
    value, setting = config.get(key), f"task.{key}"
    if value is None:
        numbers = _numbers(domain, prior)
        raise ValueError(f"task={config['name']} needs {setting}=, a file of {domain.objects}{numbers}")
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    if listed and not value:
        raise ValueError(f"{setting}=[] names no {domain.objects}")
    return list(value) if listed else [value]


def _numbers(domain: Domain, prior: Prior) -> str:
    shipped = domain.reference(prior=prior)
    return f" or a number from 0 to {len(shipped) - 1} (shipped test {domain.objects})" if len(shipped) else ""


def _read(domain: Domain, config: Mapping[str, Any], key: str, prior: Prior) -> tuple[Tensor, list[str]]:
    """States (n, *S) of the objects named by a setting, all of a folder or list, and notes on them."""
    found, notes = [], []
    for value in _places(domain, config, key, prior):
        states, more = _objects(domain, value, key, prior)
        found.append(states)
        notes += more
    return torch.cat(found), notes


def _objects(domain: Domain, value: Any, key: str, prior: Prior) -> tuple[Tensor, list[str]]:
    """States of a shipped object by number, of the first object of a file, or of all of a folder."""
    if isinstance(value, int) and not isinstance(value, bool):
        shipped = domain.reference(prior=prior)
        if not 0 <= value < len(shipped):
            raise ValueError(f"task.{key}={value}; a file of {domain.objects}{_numbers(domain, prior)} is expected")
        return prior.encode([shipped[value]]), []
    path = Path(str(value))
    try:
        objects = domain.read_reference(path, prior=prior)
    except ValueError:
        if not path.is_file() or not readable(path):
            raise
        array = refused(path.name, _in_unit(path, prior), tuple(prior.event_shape))  # values of the domain's own unit
        return prior.units.states(array), []
    notes = [objects.notes] if objects.notes else []
    most = len(objects) if path.is_dir() else 1
    if len(objects) > most:
        notes.append(f"{value} holds {len(objects)} {domain.objects}; the first is taken")
    return prior.encode(objects[:most]), notes


def _holds(thing: Any, wanted: Objective, depth: int = 4) -> bool:
    """Whether a guidance, or what it is made of, has an objective."""
    if thing is wanted:
        return True
    if depth == 0:
        return False
    if isinstance(thing, Sequence) and not isinstance(thing, str):
        return any(_holds(one, wanted, depth - 1) for one in thing)
    held = list(getattr(thing, "objectives", ()))
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        held += [getattr(thing, field.name, None) for field in dataclasses.fields(thing)]
    return any(_holds(one, wanted, depth - 1) for one in held if not isinstance(one, Tensor | str | int | float))
