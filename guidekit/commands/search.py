"""The work behind `guidekit search`: try settings of a guidance within a budget, keep every trial, tell the winner."""

from __future__ import annotations

import dataclasses
import math
import shlex
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from guidekit.commands.sample import PLAIN, label_of
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.errors import UnknownNameError
from guidekit.installed import configured
from guidekit.io.files import write_atomic
from guidekit.objectives.objects import score
from guidekit.reporting.console import Console
from guidekit.running.build import build_guidance, build_reward, build_sampler
from guidekit.running.groups import check_registered
from guidekit.running.identity import digest, identity
from guidekit.running.independence import caution, guides_of
from guidekit.running.keeping import build_keep, keeping
from guidekit.running.machine import use_threads
from guidekit.running.signals import terminable
from guidekit.running.tasks import Given, build_task
from guidekit.sampling import Result, Sampling, join, prepare
from guidekit.search.bayesian import bayesian
from guidekit.search.beam import beam
from guidekit.search.space import Point, Space, space_of
from guidekit.search.trials import Trial, Trials

METHODS = ("beam", "optuna")

OF_GUIDE = ("misfit", "chi", "consistency")
"""Figures of a task that say how well the guidance obeyed: they guide, and cannot judge."""


class SpentError(Exception):
    """The budget ends within a trial."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What all trials share.

    Args:
        config: settings of the command.
        domain, prior, reward, given: made from them; `evaluation` goes to `Domain.evaluate`.
        space: that is searched.
        metric: its name; sign: -1 where less is better.
        judge: reward that is the metric; None where it is a figure.
    """

    config: Mapping[str, Any]
    domain: Domain
    evaluation: Mapping[str, Any]
    prior: Prior
    reward: Objective | None
    given: Given | None
    space: Space
    metric: str
    sign: float
    judge: Objective | None

    def sampling(self, point: Point) -> Sampling:
        """The run of a point, checked; nothing is drawn."""
        config = self.space.placed(self.config, point)
        wanted = self.reward if self.given is None else self.given.likelihood
        verifier = partial(self.domain.verifier, prior=self.prior)
        guidance = build_guidance(
            config["guidance"],
            wanted,
            verifier,
            self.domain.load_prior,
            partial(build_reward, self.domain, prior=self.prior),
        )
        names = ("num_samples", "particles", "steps", "seed", "condition", "device", "batch_size")
        arguments = {name: config[name] for name in names}
        if self.given is not None:
            guidance, arguments["num_samples"] = self.given.guided(guidance), self.given.num_samples
        guidance = keeping(build_keep(self.domain, config.get("keep"), self.prior), guidance)
        return prepare(self.prior, guidance, sampler=build_sampler(config["sampler"]), **arguments)

    def value(self, result: Result) -> float:
        """The metric of a run; NaN where there is none.

        Raises:
            UnknownNameError: the domain has no such figure.
        """
        if self.judge is not None:
            values = score(self.prior, self.judge, result.samples)
            values = values[values.isfinite()]
            return float(values.mean()) if len(values) else math.nan
        figures: dict[str, float] = {}
        if self.given is not None:
            columns = self.given.judged(result)
            figures = {name: sum(column) / len(column) for name, column in columns.items() if name not in OF_GUIDE}
        if self.metric not in figures:
            found = self.domain.evaluate(result.objects(), prior=self.prior, **self.evaluation)
            figures |= {name: one for name, one in found.items() if isinstance(one, int | float)}
        if self.metric not in figures:
            raise UnknownNameError("search.metric", self.metric, [*figures, *self.domain.rewards])
        return float(figures[self.metric])


def run(config: dict[str, Any], console: Console | None = None) -> Path:
    """Search as a resolved configuration says and return the folder of trials; an interrupted search goes on.

    Raises:
        ValueError: settings that cannot work, a judge that guides, or a budget below one trial; before anything is
            sampled where that can be told.
    """
    console = console or Console()
    use_threads(config["threads"])
    job = prepared(config)
    budget, options = config["search"]["budget"], config["search"]
    for end in job.space.ends():
        job.sampling(end)  # refuses what cannot work
    sampling = job.sampling(job.space.start)
    least = sampling.num_samples * len(sampling.setup.visits)
    if budget < least:
        raise ValueError(
            f"search.budget={budget} is below one trial: {sampling.num_samples} samples of "
            f"{len(sampling.setup.visits)} steps look at {least} states at least"
        )
    shared = {key: value for key, value in options.items() if key not in ("budget", "method", "keep", "rounds")}
    made_by = identity(job.domain, {**config, "search": shared})
    name = f"search-{label_of(config)}-{digest(made_by)[:8]}"
    folder = Path(config["output"]) if config["output"] is not None else Path("outputs") / name
    trials = Trials(folder, made_by, job.space, config["overwrite"])
    if trials.done:
        console.print(f"{len(trials.done)} trials are there from the interrupted search", **PLAIN)
    with terminable():
        for point in points(job, trials):
            trial = tried(job, point, budget - trials.rows)
            if trial is None:
                break
            trials.add(trial)
            console.print(f"trial {len(trials.done)}: {said(job, trial)}; {trials.rows} of {budget} states", **PLAIN)
    finish(job, trials, console)
    return folder


def prepared(config: Mapping[str, Any]) -> Job:
    """Everything that trials share.

    Raises:
        ValueError: settings that cannot work.
    """
    options = config["search"]
    if options["method"] not in METHODS:
        raise UnknownNameError("search.method", str(options["method"]), METHODS)
    for name in ("budget", "keep", "rounds"):
        if type(options[name]) is not int or options[name] < 1:
            raise ValueError(f"search.{name}={options[name]}; a whole number of at least 1 is needed")
    if (config["guidance"] or {}).get("name") is None:
        raise ValueError("guidance= is needed: the settings of a guidance are searched")
    named = options["options"] or {}
    if not isinstance(named, Mapping):
        raise ValueError(f"search.options={named}; a mapping is needed, such as {{scale: [0.1, 10]}}")
    space = space_of(config, named)
    for end in space.ends():  # before a network is loaded
        check_registered(space.placed(config, end))
    domain, evaluation = configured(config["domain"])
    prior = domain.load_prior(config["prior"])
    reward = build_reward(domain, config["reward"], prior)
    given = build_task(domain, config["task"], prior, config["num_samples"])
    if given is not None and reward is not None:
        raise ValueError(f"task={given.task.name} is what the guidance obeys; leave reward= out")
    prior = prior if given is None else given.prior
    metric, sign = options["metric"], 1.0
    if metric is None and given is not None and given.truth is not None:
        metric = "snr"
    if not isinstance(metric, str):
        raise ValueError("search.metric= is needed: a figure of the domain, or a reward that does not guide")
    if metric.startswith("-"):
        metric, sign = metric[1:], -1.0
    refuse_guide(config, domain, prior, reward, given, metric)
    judge = build_reward(domain, metric, prior) if ":" in metric or metric in domain.rewards else None
    return Job(config, domain, evaluation, prior, reward, given, space, metric, sign, judge)


def refuse_guide(
    config: Mapping[str, Any], domain: Domain, prior: Prior, reward: Objective | None, given: Given | None, metric: str
) -> None:
    """Raise ValueError where what guides would judge as well: a search would only find how to please it."""
    guides = {str(one) for one in _named(config["reward"])}
    if metric in guides or (metric == "reward" and guides):
        raise ValueError(f"search.metric={metric} is what guides: judge by another reward, or a figure of the domain")
    if given is not None and metric in OF_GUIDE:
        raise ValueError(f"search.metric={metric} is what the guidance obeys: judge by snr, or a figure of the domain")
    told = caution(domain, prior, guides_of(config, reward))
    if told:
        raise ValueError(told.removeprefix("note: "))


def _named(config: Any) -> list[Any]:
    """Names and functions in the configuration of a reward, and in those that it combines."""
    if isinstance(config, str):
        return [config]
    if isinstance(config, Mapping):
        own = [config[key] for key in ("name", "path") if config.get(key) is not None]
        return own + [name for key in ("terms", "term") for name in _named(config.get(key))]
    return [name for one in config for name in _named(one)] if isinstance(config, list) else []


def points(job: Job, trials: Trials) -> Any:
    """Points in the order in which they are to be tried."""

    def scores() -> dict[Point, float]:
        return {one.point: job.sign * one.value for one in trials.done}

    options = job.config["search"]
    if options["method"] == "optuna":
        return bayesian(job.space, scores, job.config["seed"])
    return beam(job.space, scores, options["keep"], options["rounds"])


def tried(job: Job, point: Point, left: int) -> Trial | None:
    """One trial; None where the budget would not last, and what was begun is dropped.

    Args:
        job: of the search.
        point: that is tried.
        left: states that the network may look at yet.
    """
    began, sampling = time.perf_counter(), job.sampling(point)
    if sampling.num_samples * len(sampling.setup.visits) > left:
        return None
    count, parts, before = sampling.num_samples, list[Result](), 0
    try:
        for begin in range(0, count, sampling.batch_size):
            watch = counting(left - before)
            parts.append(sampling.draw(begin, min(begin + sampling.batch_size, count), watch))
            before += parts[-1].ledger.network_rows
    except SpentError:
        return None
    except ArithmeticError as error:  # a guidance that says itself that it has diverged
        return Trial(point, math.nan, before, time.perf_counter() - began, " ".join(str(error).split()))
    result = join(parts)
    value = job.value(result)
    failure = "" if math.isfinite(value) else "the metric is not finite"
    value = value if math.isfinite(value) else math.nan
    return Trial(point, value, result.ledger.network_rows, time.perf_counter() - began, failure)


def counting(left: int) -> Callable[[Any], None]:
    """A progress callback that stops a run before a step that would cost as much as the dearest so far and more."""
    seen = [0, 0]

    def watch(progress: Any) -> None:
        rows = progress.population.setup.network.ledger.network_rows
        seen[:] = [rows, max(seen[1], rows - seen[0])]
        if progress.step < progress.steps and rows + seen[1] > left:
            raise SpentError

    return watch


def said(job: Job, trial: Trial) -> str:
    """A trial in a few words."""
    settings = ", ".join(f"{name}={value:g}" for name, value in job.space.settings(trial.point).items())
    told = trial.failure if math.isnan(trial.value) else f"{job.metric} {trial.value:.4g}"
    return f"{settings}: {told}"


def finish(job: Job, trials: Trials, console: Console) -> None:
    """The table of trials, best first, and the winner as settings and as a command."""
    if not trials.done:
        raise ValueError(f"search.budget={job.config['search']['budget']} was spent before one trial was finished")
    ranked = sorted(trials.done, key=lambda one: math.inf if math.isnan(one.value) else -job.sign * one.value)
    names = [option.name for option in job.space.options]
    table = Table(title=f"{len(ranked)} trials, {trials.rows} states", title_justify="left")
    for name in (*names, job.metric, "states", "seconds"):
        table.add_column(name, justify="right")
    for one in ranked:
        value = one.failure if math.isnan(one.value) else f"{one.value:.4g}"
        values = [f"{number:g}" for number in job.space.settings(one.point).values()]
        table.add_row(*values, value, str(one.rows), f"{one.seconds:.1f}")
    console.print(table)
    best = ranked[0]
    if math.isnan(best.value):
        raise ValueError(f"no trial has a finite {job.metric}; the reasons are in {trials.folder / 'trials.csv'}")
    winner = {
        key: value
        for key, value in job.space.placed(job.config, best.point).items()
        if key not in ("search", "output", "overwrite")
    }
    write_atomic(trials.folder / "winner.yaml", yaml.safe_dump(winner, sort_keys=False).encode())
    told = command(job, best.point)
    write_atomic(trials.folder / "winner.sh", f"{told}\n".encode())
    console.print(f"winner ({said(job, best)}), also in {trials.folder / 'winner.sh'}:\n{told}", **PLAIN)


def command(job: Job, point: Point) -> str:
    """The `guidekit sample` command with the settings of a point: what differs from the shipped ones."""
    from guidekit.running.groups import load_command

    config = job.space.placed(job.config, point)
    groups = {key: str(config[key].get("name") or "none") for key in ("domain", "reward", "task", "guidance")}
    groups["sampler"] = str(config["sampler"].get("name") or "default")
    shipped = load_command("sample", groups)
    words = [
        "guidekit",
        "sample",
        *(f"{key}={value}" for key, value in groups.items() if value not in ("none", "default")),
    ]
    usual = {**shipped, **{key: shipped.get(key, {}) for key in groups}}
    for key, value in config.items():
        if key in usual and key not in ("output", "overwrite", "num_samples"):
            words += _differing(key, value, usual[key])
    return " ".join(shlex.quote(word) for word in words)


def _differing(place: str, value: Any, usual: Any) -> list[str]:
    """Settings key=value of what is not as shipped."""
    if isinstance(value, Mapping) and isinstance(usual, Mapping):
        return [
            word
            for key, one in value.items()
            if key != "name"
            for word in _differing(f"{place}.{key}", one, usual.get(key))
        ]
    return [] if value == usual else [f"{place}={_written(value)}"]


def _written(value: Any) -> str:
    """A value in the grammar of the command line."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}: {_written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
