"""The work behind `guidekit sample`: draw, compare with the unguided prior, write the output folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from guidekit.core.budget import BudgetError, Purse, budget_of
from guidekit.core.guidance import Guidance
from guidekit.core.objective import Objective
from guidekit.installed import configured
from guidekit.reporting.console import Console
from guidekit.running.build import build_guidance, build_reward, build_sampler
from guidekit.running.chunks import load_chunks, sample_on_disk
from guidekit.running.folder import OutputError, RunFolder
from guidekit.running.identity import digest, identity
from guidekit.running.independence import caution, guides_of
from guidekit.running.keeping import build_keep, keeping, of_length
from guidekit.running.leads import begun, build_lead
from guidekit.running.machine import use_threads
from guidekit.running.made import missing
from guidekit.running.output import distinct_ones, report, write
from guidekit.running.scores import Journal, Memory
from guidekit.running.signals import terminable
from guidekit.running.tasks import Given, build_task
from guidekit.samples import Samples
from guidekit.sampling import Result, Sampling, prepare

ROUNDS = 4
"""Times as many samples that unique=true draws at most, until there are as many distinct valid ones as asked for."""
PLAIN: dict[str, Any] = {"soft_wrap": True, "markup": False, "highlight": False}
"""How names of files are printed: as they are, in one line."""


def run(config: dict[str, Any], console: Console | None = None) -> Path:
    """Sample as a resolved configuration says and return the output folder.

    A run that was interrupted goes on; one that is finished is left as it is.

    Raises:
        ValueError: settings that cannot work (see `guidekit.running.build`, `RunFolder`), before anything is written.
        OutputError: the output folder was taken during the run; the results lie beside it.
        KeyboardInterrupt: a line has said where finished samples or results are.
    """
    console = console or Console()
    use_threads(config["threads"])
    domain, _ = configured(config["domain"])
    prior = of_length(domain, config, domain.load_prior(config["prior"]))
    reward = build_reward(domain, config["reward"], prior)
    given = build_task(domain, config["task"], prior, config["num_samples"])
    if given is not None and reward is not None:
        raise ValueError(f"task={given.task.name} is what the guidance obeys; leave reward= out")
    prior = prior if given is None else given.prior
    if given is not None and config["unique"]:
        raise ValueError(f"unique=true would leave out draws of a posterior: leave it out with task={given.task.name}")
    wanted = reward if given is None else given.likelihood
    guidance = build_guidance(
        config["guidance"],
        wanted,
        partial(domain.verifier, prior=prior),
        domain.load_prior,
        partial(build_reward, domain, prior=prior),
    )
    if given is not None:
        guidance = given.guided(guidance)
    rules = build_keep(domain, config.get("keep"), prior)
    lead = build_lead(domain, config, prior, rules)
    if given is not None and lead is not None:
        raise ValueError(f"task={given.task.name} begins from its own measurement; leave lead= out")
    guidances: dict[str, Guidance | None] = {}
    if guidance is not None:
        guidances["guided"] = begun(keeping(rules, guidance), lead)
    if config["baseline"] or guidance is None:
        guidances["unguided"] = begun(rules, lead)
    sampler = build_sampler(config["sampler"])
    arguments = {key: config[key] for key in ("num_samples", "steps", "seed", "condition", "device", "batch_size")}
    if given is not None:
        arguments["num_samples"] = given.num_samples

    def prepared(name: str, times: int = 1) -> Sampling:
        count = times * arguments["num_samples"]
        particles = 1 if name == "unguided" else config["particles"]
        return prepare(
            prior, guidances[name], sampler=sampler, particles=particles, **arguments | {"num_samples": count}
        )

    parts = {name: prepared(name) for name in guidances}
    for told in dict.fromkeys(told for sampling in parts.values() for told in sampling.cautions):
        console.print(f"note: {told}", **PLAIN)
    purse = Purse(budget_of(config.get("budget")))
    made_by, label = identity(domain, config), label_of(config)
    path = str(config["output"]) if config["output"] is not None else Path("outputs") / f"{label}-{digest(made_by)[:8]}"
    with terminable():
        larger = partial(goes_on, config.get("budget") or {})
        folder = RunFolder(path, made_by, config["overwrite"], config["resume"], larger)
        if folder.finished:
            gone = missing(folder.path)
            lacking = f", but for {', '.join(gone)} (resume=never overwrite=true makes it again)" if gone else ""
            console.print(f"already done: {folder.path} holds the results of this command{lacking}", **PLAIN)
            return folder.path
        try:
            results = draw(console, folder, parts, reward, config["batch_size"] is None, purse)
            main = next(iter(parts))
            for times in range(2, ROUNDS + 1) if config["unique"] and not purse.stopped else ():
                found = len(distinct_ones(domain, Samples(results[main].samples, prior)))
                if found >= config["num_samples"]:
                    break
                console.print(f"{found} of {config['num_samples']} distinct valid samples; more are drawn", **PLAIN)
                more = {main: prepared(main, times)}
                again = Purse(purse.budget)  # of all that is drawn: other parts are as they were
                for result in (result for name, result in results.items() if name != main):
                    again.paid(result.ledger, len(result.log_normalizer))
                results |= draw(console, folder, more, reward, config["batch_size"] is None, again)
                purse = again
                if purse.stopped:
                    break
            folder.begin_results()
            record = write(folder.results, domain, prior, results, reward, config, label, given)
            record["guided_by"] = guides_of(config, reward)
            record |= {"stopped": purse.stopped, "spent": purse.spent}
            placed = folder.complete(record, more=bool(purse.stopped))
            for note in [*prior.notes, *([] if given is None else given.notes)]:
                console.print(note, soft_wrap=True)
            report(console, domain, results, record, placed)
            if purse.stopped:
                counts = {name: len(result.log_normalizer) for name, result in results.items()}
                fewer = any(counts.get(name, 0) < arguments["num_samples"] <= counts[main] for name in parts)
                console.print(ended(purse, counts[main], arguments["num_samples"], given, fewer=fewer), **PLAIN)
            if told := caution(domain, prior, record["guided_by"]):
                console.print(told, soft_wrap=True)
        except BudgetError:  # before the first sample was finished
            folder.abandon()
            raise
        except BaseException:  # an interrupt, a full disk, a failure deep inside: nothing that is finished is lost
            console.print(standing(folder), **PLAIN)
            raise
    if folder.placed != folder.path:
        raise OutputError(f"{folder.path} was taken while the run was at work; the results are in {folder.placed}")
    return folder.path


def draw(
    console: Console,
    folder: RunFolder,
    parts: Mapping[str, Sampling],
    reward: Objective | None,
    cut: bool,
    purse: Purse | None = None,
) -> dict[str, Result]:
    """Every part of a run, from its folder as far as it is there; without those that a purse pays no sample of."""
    memory = Memory(reward, Journal(folder.scores))
    results = {}
    with progress_bar(console) as bar:
        for name, sampling in parts.items():
            count = sampling.num_samples
            done, damaged = load_chunks(folder.chunks, name)
            done = {begin: chunk for begin, chunk in done.items() if chunk.end <= count}
            if done:
                kept = sum(chunk.end - chunk.begin for chunk in done.values())
                console.print(f"{name}: {kept} of {count} samples are there from the interrupted run", **PLAIN)
            for file in damaged:
                console.print(f"{file} is damaged; its samples are drawn again", **PLAIN)
            task = bar.add_task(name, text=f"0 of {count} samples")

            def on_step(progress: Any, task: Any = task, count: int = count) -> None:
                first, last = progress.groups
                text = f"{first} of {count} samples; {first + 1}-{last}: step {progress.step} of {progress.steps}"
                bar.update(task, text=text)

            def on_chunk(done: int, task: Any = task, count: int = count) -> None:
                bar.update(task, text=f"{done} of {count} samples")

            found = sample_on_disk(folder.chunks, name, sampling, memory, done, cut, on_step, on_chunk, purse)
            if found is not None:
                results[name] = found
    memory.recall()
    return results


def goes_on(budget: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a run that its budget ended has a larger one now, of the limit that ended it."""
    stopped = record.get("stopped")
    if not stopped:
        return False
    before, now = (record["config"].get("budget") or {}).get(stopped), budget.get(stopped)
    return now is None or before is None or now > before


def ended(purse: Purse, found: int, wanted: int, given: Given | None = None, *, fewer: bool = False) -> str:
    """That a budget ended the run, in which part, and how to go on, in one line."""
    name, inputs = purse.stopped, ""
    if given is not None and len(given.y) > 1:
        inputs = f", {found // given.each} of {len(given.y)} measurements with all of theirs"
    if fewer:
        inputs += ", and those without guidance are fewer"
    return (
        f"stopped by budget.{name}={purse.budget.limits[name]:g} after {found} of {wanted} samples{inputs}; "
        "the same command with a larger one goes on from there"
    )


def standing(folder: RunFolder) -> str:
    """Where the results of a run that was stopped are, in one line."""
    kept = folder.abandon()
    if folder.placed is not None:
        return f"interrupted after the end: the results are in {folder.placed}"
    if kept:
        return f"interrupted: what is finished is kept in {folder.partial}; the same command goes on from there"
    return "interrupted before the first samples were finished: nothing is kept"


def label_of(config: Mapping[str, Any]) -> str:
    """domain-reward-guidance, or domain-task-guidance, for folder names."""
    reward = config["reward"].get("name") or config["task"].get("name")
    guidance = config["guidance"].get("name")
    return "-".join(part for part in (config["domain"]["name"], reward, guidance) if part)


def progress_bar(console: Console) -> Progress:
    """Samples done, step within the chunk, time."""
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description:>9}", markup=False),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
    ]
    return Progress(*columns, console=console, transient=True)
