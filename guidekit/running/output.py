"""What a finished run writes and prints: samples in the formats of the field, a picture, the closing table."""

from __future__ import annotations

import csv
import dataclasses
import math
import platform
import statistics
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import guidekit
from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.state import take
from guidekit.domain import Domain
from guidekit.objectives.objects import score
from guidekit.objectives.scoring import failures, remark
from guidekit.priors.labels import several
from guidekit.reporting.console import Console
from guidekit.reporting.table import comparison
from guidekit.running import particles
from guidekit.running.posterior import figures_of, posterior, write_posterior
from guidekit.running.spoken import spoken, versions
from guidekit.running.tasks import Given
from guidekit.samples import Samples
from guidekit.sampling import Result

MISSED = 3.0
"""Misfits in units of the noise, from which on a run says that its samples miss the measurement."""
SLOW = 0.1
"""Share of the time of a run from which on the closing table tells how fast rewards were."""


UNSCORED = "valid without a reward"
"""Figure of samples that the reward failed on or rejected: no statistic of rewards counts them."""


def each(condition: Any, prior: Prior, result: Result) -> Any:
    """A list of conditions as one a sample of a result; one condition as it is."""
    found = several(condition, getattr(prior, "labels", ()))
    if found is None:
        return condition
    groups, kept = result.log_weights.shape
    return [found[group % len(found)] for group in range(groups) for _ in range(kept)]


def write(
    folder: Path,
    domain: Domain,
    prior: Prior,
    results: dict[str, Result],
    reward: Objective | None,
    config: dict,
    label: str,
    given: Given | None = None,
) -> dict[str, Any]:
    """Samples in the domain's formats, samples.csv and a picture; the unguided ones go to unguided.csv.

    Returns:
        The record of the run.
    """
    figures: dict[str, Any] = {}
    drawn = {
        name: Samples(result.samples, prior, each(config["condition"], prior, result))
        for name, result in results.items()
    }
    values = {name: _values(drawn[name], result, reward) for name, result in results.items()}
    for name, result in results.items():
        main = name == next(iter(results))
        rows, shown, scored = domain.table(drawn[name]), drawn[name], values[name]
        about = None if given is None else given.drawn(len(result.log_normalizer))
        figures[name] = domain.summary(rows, scored, shown)
        unscored = sum(row["valid"] and not math.isfinite(value) for row, value in zip(rows, scored, strict=True))
        if reward is not None and unscored:
            figures[name][UNSCORED] = int(unscored)
        if particles.filtered(result):
            figures[name] |= particles.figures(result)
            particles.draw(result, folder / "particles.png")
        weights = result.log_weights.flatten().tolist()
        extra = {"log_weight": weights} if reward is None else {"reward": values[name], "log_weight": weights}
        if (k := result.log_weights.shape[1]) > 1:
            extra["group"] = [i // k for i in range(len(weights))]
        if several(config["condition"], getattr(prior, "labels", ())) is not None:
            for row, condition in zip(rows, drawn[name].condition, strict=True):
                row["condition"] = condition
        elif "log tilt" in result.info and (about is None or len(about.y) == 1):  # groups that ask for the same are one
            extra |= particles.columns(result)
        if about is not None:
            judged = about.judged(result)
            found = posterior(about, result)
            figures[name] |= {key: mean(column) for key, column in judged.items() if key != "input"}
            figures[name] |= figures_of(about, found)
            extra |= judged
            if main:
                layout = getattr(domain, "layout", None)
                write_posterior(folder, about, found, upward=getattr(layout, "upward", False))
        for i, row in enumerate(rows):
            row.update({key: column[i] for key, column in extra.items()})
        if config.get("unique") and about is None:
            kept = distinct_ones(domain, shown)[: config["num_samples"]]
            figures[name]["written"] = len(kept)
            rows, scored = [rows[i] for i in kept], [scored[i] for i in kept]
            extra = {key: [column[i] for i in kept] for key, column in extra.items()}
            told = shown.condition
            if several(config["condition"], getattr(prior, "labels", ())) is not None:
                told = [told[i] for i in kept]
            shown = Samples(take(shown.states, torch.tensor(kept, dtype=torch.long)), prior, told)
        write_csv(folder / ("samples.csv" if main else "unguided.csv"), rows)
        if not main or not rows:
            continue
        domain.write(folder, shown, extra)
        if about is not None:
            domain.compared(about.panels() | drawn, folder / "figure.png")
            continue
        beside = {other: (drawn[other], values[other]) for other in results if other == "unguided" != name}
        title = "" if reward is None else reward.name
        domain.figure(shown, scored, title, folder / "figure.png", objective=reward, **beside)
    filters = [particles.remark(result) for result in results.values() if particles.filtered(result)]
    filters.append(missed(figures.get("guided", {}).get("chi", math.nan)))
    return {
        "label": label,
        "config": config,
        "prior": config["prior"],
        "figures": figures,
        "remark": "; ".join(
            filter(None, [remarks(reward, domain.objects), domain.remark(next(iter(drawn.values()))), *filters])
        ),
        "ledger": {name: dataclasses.asdict(result.ledger) for name, result in results.items()},
        "throughput": {name: result.ledger.throughput for name, result in results.items()},
        "log_normalizer": {name: result.log_normalizer.tolist() for name, result in results.items()},
        "command": spoken(),
        "versions": {
            "guidekit": guidekit.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            **versions(),
        },
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }


def mean(column: Sequence[float]) -> float:
    """Of those numbers of a column that are some; NaN of none."""
    known = [value for value in column if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan


def missed(chi: float) -> str:
    """A sentence where samples miss their measurement by far more than its noise; empty where they do not."""
    if not chi > MISSED:
        return ""
    return f"samples miss the measurement by {chi:.3g} times its noise (chi): take more steps, or another guidance"


def distinct_ones(domain: Domain, samples: Samples) -> list[int]:
    """The first places of distinct valid objects."""
    found: dict[Hashable, int] = {}
    for i, one in enumerate(samples.objects):
        if one is not None:
            found.setdefault(domain.mark(one), i)
    return list(found.values())


def remarks(reward: Objective | None, kind: str) -> str:
    """Sentences on rewards whose scores tell nothing apart; empty where all do."""
    members = () if reward is None else reward.members
    told = (remark(one.remembered(), one.name, kind) for one in members if hasattr(one, "remembered"))
    return "; ".join(filter(None, told))


def _values(samples: Samples, result: Result, reward: Objective | None) -> list[float]:
    """Rewards of samples, NaN for none; what they cost only fills the tables and is not counted."""
    if reward is None:
        return [math.nan] * result.log_weights.numel()
    return score(samples.prior, reward, samples.states, seen=samples.seen).tolist()


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows of one structure as CSV with a header and an index; without any, the index alone."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["index", *(rows[0] if rows else ())])
        writer.writeheader()
        writer.writerows({"index": i, **row} for i, row in enumerate(rows))


def worth_telling(ledgers: Collection[Ledger]) -> set[str]:
    """Rows of `Ledger.throughput` that say something in a closing table; run.json has them always.

    The speed of rewards that took a tenth of the time of some part, and the share that was spared where any was.
    """
    slow = any(ledger.reward_seconds > SLOW * ledger.seconds for ledger in ledgers)
    spared = any(ledger.reward_repeated for ledger in ledgers)
    return {row for row, told in (("objects a second", slow), ("share not scored again", spared)) if told}


def heading(name: str, results: Collection[str], config: Mapping[str, Any]) -> str:
    """What a column of the closing table is called: a part alone that keeps rules, or follows a lead, says so."""
    told = [words for given, words in (("keep", "rules kept"), ("lead", "from the lead")) if config.get(given)]
    return ", ".join(told) if told and list(results) == ["unguided"] else name


def report(console: Console, domain: Domain, results: dict[str, Result], record: Mapping[str, Any], path: Path) -> None:
    """The closing table and what the folder holds."""
    counts: dict[str, int] = {}
    columns, telling = {}, worth_telling([result.ledger for result in results.values()])
    for name in reversed(results):
        ledger, count = results[name].ledger, len(results[name].log_normalizer)
        counts[heading(name, results, record["config"])] = results[name].log_weights.numel()
        columns[heading(name, results, record["config"])] = {
            **record["figures"][name],
            "network calls a sample": ledger.network_rows / count,
            "reward calls": ledger.reward_calls,
            "value calls": ledger.value_calls,
            **{row: value for row, value in ledger.throughput.items() if row in telling},
            "seconds": ledger.seconds,
        }
    for calls in ("reward calls", "value calls"):
        if not any(column[calls] for column in columns.values()):
            columns = {name: column | {calls: math.nan} for name, column in columns.items()}
    title, few = f"{record['label']}: ", set(counts.values())
    if len(few) == 1:
        title += f"{min(few)} sample{'s' * (few != {1})} each"
    else:
        title += ", ".join(f"{number} {name}" for name, number in counts.items())
    console.print(comparison(columns, title))
    ledger = next(iter(results.values())).ledger
    if record["config"]["task"].get("name"):
        failed = failures(ledger, "states", "the forward model", "count for nothing")
    else:
        failed = failures(ledger, domain.objects)
    for told in filter(None, (failed, record["remark"])):
        console.print(told, soft_wrap=True)
    info = next(iter(results.values())).info
    if "violations after" in info:
        before, after = (int(info[f"violations {when}"].sum()) for when in ("before", "after"))
        console.print(f"{domain.objects} that break the rule: {before} before reflection, {after} after it")
    names = ", ".join(sorted(item.name for item in path.iterdir()))
    console.print(f"written to {path}: {names}", markup=False)
