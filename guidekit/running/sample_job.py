"""The work behind `guidekit sample`: draw, compare with the unguided prior, write the output folder."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
import platform
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import guidekit
from guidekit.domain import Domain, configured
from guidekit.evaluation.table import comparison
from guidekit.objectives.rewards import score
from guidekit.running.build import build_guidance, build_reward, build_sampler
from guidekit.running.chunks import sample_on_disk
from guidekit.running.folder import RunFolder
from guidekit.running.independence import caution
from guidekit.running.tasks import Given, build_task
from guidekit.sampling import Result, sample_chunks

NOT_SETTINGS = ("output", "overwrite", "resume")
"""Keys that do not change what is sampled."""


def run(config: dict[str, Any], console: Console | None = None) -> Path:
    """Sample as a resolved configuration says and return the output folder.

    Raises:
        ValueError: settings that cannot work (see `guidekit.running.build`, `RunFolder`), before anything is written.
        KeyboardInterrupt: finished chunks stay on disk and a line says how to resume.
    """
    console = console or Console()
    domain, _ = configured(config["domain"])
    prior = domain.load_prior(config["prior"])  # first, as a verifier reads its tokens, and a reward may look at it
    reward = build_reward(domain, config["reward"], prior)
    given = build_task(domain, config["task"], tuple(prior.event_shape))
    if given is not None and reward is not None:
        raise ValueError(f"task={given.task.name} is what the guidance obeys; leave reward= out")
    wanted = reward if given is None else given.likelihood
    guidance = build_guidance(config["guidance"], wanted, domain.verifier, domain.checkpoint)
    if given is not None:
        guidance = given.guided(guidance)
    arguments = dict(
        prior=prior,
        sampler=build_sampler(config["sampler"]),
        **{key: config[key] for key in ("steps", "seed", "condition", "device", "batch_size")},
    )
    versions: list[tuple[str, Any]] = [("guided", guidance)] if guidance is not None else []
    if config["baseline"] or guidance is None:
        versions.append(("unguided", None))
    for _, plug in versions:
        # Refuses what cannot work before a folder is made.
        particles = config["particles"] if plug is not None else 1
        sample_chunks(guidance=plug, num_samples=config["num_samples"], particles=particles, **arguments)
    domain.compare_with(config["condition"])
    label = label_of(config)
    settings = {key: value for key, value in config.items() if key not in NOT_SETTINGS}
    path = Path(config["output"]) if config["output"] else free_folder(label)
    folder = RunFolder(path, settings, config["overwrite"], config["resume"])
    results = {}
    try:
        with progress_bar(console) as bar:
            for name, plug in versions:
                particles = config["particles"] if plug is not None else 1
                results[name] = _sample(bar, folder, name, config["num_samples"], plug, particles, arguments)
        write(folder.partial, domain, results, reward, config, label, given)
        folder.complete()
    except BaseException:  # an interrupt, a full disk, a failure deep inside: finished samples are never thrown away
        if any(folder.chunks.glob("*.safetensors")):
            console.print(f"interrupted: finished samples are kept; repeat the command with output={path} resume=true")
        else:
            folder.abandon()
            console.print("interrupted before the first samples were finished: nothing is kept")
        raise
    for note in [] if given is None else given.notes:
        console.print(note)
    report(console, domain, results, path)
    if told := caution(domain, config):
        console.print(told, soft_wrap=True)
    return path


def free_folder(label: str) -> Path:
    """A folder under outputs/ that does not exist yet, named after the run and the time."""
    name = f"{label}-{time.strftime('%Y%m%d-%H%M%S')}"
    numbered = (Path("outputs") / (name if i == 1 else f"{name}-{i}") for i in itertools.count(1))
    return next(path for path in numbered if not path.exists())


def label_of(config: Mapping[str, Any]) -> str:
    """domain-reward-guidance, or domain-task-guidance, for folder names."""
    reward = config["reward"].get("name") or config["task"].get("name")
    guidance = (config["guidance"].get("_target_") or "").rpartition(".")[2].lower()
    return "-".join(part for part in (config["domain"]["name"], reward, guidance) if part)


def progress_bar(console: Console) -> Progress:
    """Samples done, step within the chunk, time."""
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description:>9}"),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    ]
    return Progress(*columns, console=console, transient=True)


def _sample(
    bar: Progress, folder: RunFolder, name: str, count: int, guidance: Any, particles: int | None, arguments: dict
) -> Result:
    task = bar.add_task(name, text=f"0 of {count} samples")

    def on_step(progress: Any) -> None:
        first, last = progress.groups
        bar.update(
            task, text=f"{first} of {count} samples; {first + 1}-{last}: step {progress.step} of {progress.steps}"
        )

    def on_chunk(done: int) -> None:
        bar.update(task, text=f"{done} of {count} samples")

    return sample_on_disk(
        folder.chunks, name, count, on_chunk, guidance=guidance, particles=particles, progress=on_step, **arguments
    )


def write(
    folder: Path,
    domain: Domain,
    results: dict[str, Result],
    reward: Any,
    config: dict,
    label: str,
    given: Given | None = None,
) -> None:
    """Samples in the domain's formats, samples.csv, a picture and run.json; the unguided ones go to unguided.csv."""
    figures: dict[str, Any] = {}
    for name, result in results.items():
        main = name == next(iter(results))
        values = _values(result, reward)
        rows = domain.table(result.samples)
        figures[name] = domain.summary(rows, values)
        weights = result.log_weights.flatten().tolist()
        extra = {"log_weight": weights} if reward is None else {"reward": values, "log_weight": weights}
        if given is not None:
            judged = given.judged(result.samples)
            figures[name] |= {key: statistics.fmean(column) for key, column in judged.items()}
            extra |= judged
        for i, row in enumerate(rows):
            row.update({key: column[i] for key, column in extra.items()})
        write_csv(folder / ("samples.csv" if main else "unguided.csv"), rows)
        if main:
            domain.write(folder, result.samples, extra)
            if given is not None:
                drawn = {key: other.samples for key, other in results.items()}
                domain.compared(given.panels() | drawn, folder / "figure.png")
                continue
            shown = values if reward is not None else [math.nan] * len(rows)
            title = "" if reward is None else reward.name
            beside = {}
            if domain.shows_unguided and len(results) > 1:
                other = results["unguided"]
                beside["unguided"] = (other.samples, _values(other, reward))
            domain.figure(result.samples, shown, title, folder / "figure.png", **beside)
    record = {
        "label": label,
        "config": config,
        "prior": config["prior"],
        "figures": figures,
        "ledger": {name: dataclasses.asdict(result.ledger) for name, result in results.items()},
        "log_normalizer": {name: result.log_normalizer.tolist() for name, result in results.items()},
        "versions": {"guidekit": guidekit.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }
    (folder / "run.json").write_text(json.dumps(record, indent=1, default=str))


def _values(result: Result, reward: Any) -> list[float]:
    rows = result.log_weights.numel()
    if reward is None:
        return [math.nan] * rows
    # Counted apart from what the guidance asked: these calls only fill the tables.
    return score(reward, result.samples, type(result.ledger)()).tolist()


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows of one structure as CSV with a header and an index."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["index", *rows[0]])
        writer.writeheader()
        writer.writerows({"index": i, **row} for i, row in enumerate(rows))


def report(console: Console, domain: Domain, results: dict[str, Result], path: Path) -> None:
    """The closing table and what the folder holds."""
    record = json.loads((path / "run.json").read_text())
    columns = {}
    for name in reversed(results):
        ledger, count = results[name].ledger, len(results[name].log_normalizer)
        columns[name] = {
            **record["figures"][name],
            "network calls a sample": ledger.network_rows / count,
            "reward calls": ledger.reward_calls,
            "value calls": ledger.value_calls,
            "seconds": ledger.seconds,
        }
    for calls in ("reward calls", "value calls"):
        if not any(column[calls] for column in columns.values()):
            columns = {name: column | {calls: math.nan} for name, column in columns.items()}
    console.print(comparison(columns, f"{record['label']}: {count} samples each"))
    ledger = next(iter(results.values())).ledger
    if ledger.reward_failures:
        console.print(f"the reward failed on {ledger.reward_failures} {domain.objects}; they score minus infinity")
    info = next(iter(results.values())).info
    if "violations after" in info:
        before, after = (int(info[f"violations {when}"].sum()) for when in ("before", "after"))
        console.print(f"{domain.objects} that break the rule: {before} before reflection, {after} after it")
    console.print(f"written to {path}: {', '.join(sorted(item.name for item in path.iterdir()))}")
