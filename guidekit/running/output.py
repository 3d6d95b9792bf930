"""What a finished run writes and prints: samples in the formats of the field, a picture, the closing table."""

from __future__ import annotations

import csv
import dataclasses
import math
import platform
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import guidekit
from guidekit.console import Console
from guidekit.domain import Domain
from guidekit.evaluation.table import comparison
from guidekit.objectives.rewards import score
from guidekit.objectives.scoring import failures, remark
from guidekit.running.tasks import Given
from guidekit.sampling import Result


def write(
    folder: Path,
    domain: Domain,
    results: dict[str, Result],
    reward: Any,
    config: dict,
    label: str,
    given: Given | None = None,
) -> dict[str, Any]:
    """Samples in the domain's formats, samples.csv and a picture; the unguided ones go to unguided.csv.

    Returns:
        The record of the run.
    """
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
    return {
        "label": label,
        "config": config,
        "prior": config["prior"],
        "figures": figures,
        "remark": remark(reward.scores(), reward.name, domain.objects) if hasattr(reward, "scores") else "",
        "ledger": {name: dataclasses.asdict(result.ledger) for name, result in results.items()},
        "log_normalizer": {name: result.log_normalizer.tolist() for name, result in results.items()},
        "versions": {"guidekit": guidekit.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }


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


def report(console: Console, domain: Domain, results: dict[str, Result], record: Mapping[str, Any], path: Path) -> None:
    """The closing table and what the folder holds."""
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
    for told in filter(None, (failures(ledger, domain.objects), record["remark"])):
        console.print(told, soft_wrap=True)
    info = next(iter(results.values())).info
    if "violations after" in info:
        before, after = (int(info[f"violations {when}"].sum()) for when in ("before", "after"))
        console.print(f"{domain.objects} that break the rule: {before} before reflection, {after} after it")
    names = ", ".join(sorted(item.name for item in path.iterdir()))
    console.print(f"written to {path}: {names}", markup=False)
