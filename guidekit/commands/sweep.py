"""Sweeps of `guidekit sample --multirun`: a folder for each job within output=, and a table of all."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guidekit.io.files import write_atomic
from guidekit.reporting.console import Console
from guidekit.reporting.table import comparison
from guidekit.running.made import RECORD

SUMMARY = "summary.csv"
MOST_SHOWN = 4
"""Jobs that are shown in a table; all are in the file."""


def swept(settings: Sequence[str]) -> list[str]:
    """Keys of settings that have several values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    plain = [setting for setting in settings if not setting.startswith("-")]
    return [one.key_or_group for one in OverridesParser.create().parse_overrides(plain) if one.is_sweep_override()]


def folder_of_job(output: str | None, settings: Sequence[str], overrides: Sequence[str]) -> str | None:
    """The folder of one job: output/<what it has of the swept settings>; None where no output was given."""
    if output is None:
        return None
    keys = swept(settings)
    chosen = [one.partition("=") for one in overrides if one.partition("=")[0] in keys]
    name = ",".join(f"{key}={re.sub(r'[^A-Za-z0-9.+_-]+', '_', value)}" for key, _, value in chosen)
    return str(Path(output) / name[:200]) if name else output


def summarize(settings: Sequence[str]) -> Path | None:
    """Write output/summary.csv, a row a finished job, and print it; None where no output was given."""
    given = [setting.removeprefix("output=") for setting in settings if setting.startswith("output=")]
    folder = Path(given[-1].strip("\"'")).expanduser() if given else None
    if folder is None or not folder.is_dir():
        return None
    jobs: dict[str, dict[str, Any]] = {}
    for record in sorted(folder.glob(f"*/{RECORD}")):
        told = json.loads(record.read_text())
        name = next(iter(told["ledger"]))
        ledger = told["ledger"][name]
        costs = {key: ledger[key] for key in ("network_rows", "reward_calls", "seconds")}
        jobs[record.parent.name] = {**told["figures"][name], **costs}
    if not jobs:
        return None
    columns = list(dict.fromkeys(key for figures in jobs.values() for key in figures))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["job", *columns])
    writer.writeheader()
    writer.writerows({"job": name, **figures} for name, figures in jobs.items())
    write_atomic(folder / SUMMARY, stream.getvalue().encode())
    shown = {
        name: {key: float("nan") if value is None else value for key, value in figures.items()}
        for name, figures in list(jobs.items())[:MOST_SHOWN]
    }
    console = Console()
    console.print(
        comparison(shown, f"{len(jobs)} jobs" + (f", the first {len(shown)}" if len(jobs) > len(shown) else ""))
    )
    console.print(f"written to {folder / SUMMARY}", soft_wrap=True, markup=False, highlight=False)
    return folder / SUMMARY
