"""Run claims: every finished seed is kept, and the same command goes on where an interrupted one stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from guidekit.evidence.claim import FOLDER, Claim, ClaimError, Source, chosen
from guidekit.evidence.record import Record, Run, machine, read, write
from guidekit.evidence.statistics import Estimate, holds
from guidekit.reporting.console import Console

SEEDS = (0, 1, 2)
ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "docs" / "evidence"
"""Where records are kept in a checkout."""


def run(config: Mapping[str, Any], console: Console) -> None:
    """What `guidekit bench evidence` does: run the claims of some rows, and write the page; or the page alone.

    Raises:
        ValueError: seeds or rows that are none, before anything is run.
    """
    from guidekit.evidence import page

    seeds, folder = seeds_of(config["seeds"]), folder_of(config["output"])
    if not config["page"]:
        for source in chosen(config["row"]):
            run_claim(source, seeds, folder, console, config["overwrite"])
    if folder == RECORDS:
        console.print(f"wrote {page.write()}")


def seeds_of(given: object) -> list[int]:
    """The seeds: a list of them, or 0 to n - 1 of a number n; 0, 1, 2 of None."""
    seeds: Any = list(SEEDS) if given is None else list(range(given)) if isinstance(given, int) else given
    whole = isinstance(seeds, list | tuple) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not whole or not seeds or len({*seeds}) < len(seeds):
        raise ValueError(f"seeds={given}; a list of different whole numbers is needed, such as 'seeds=[0,1,2]'")
    return list(seeds)


def folder_of(output: object) -> Path:
    """Where records go: what was given, or that of the checkout.

    Raises:
        ValueError: it is no folder, or this is no checkout.
    """
    folder = Path(str(output)) if output else RECORDS
    if not output and not RECORDS.parent.is_dir():
        raise ValueError("output= is needed where there is no docs/: name a folder for the records")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output={output}: a folder is needed, and this is a file")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def run_claim(source: Source, seeds: Sequence[int], folder: Path, console: Console, overwrite: bool = False) -> Record:
    """Measure the seeds that a claim lacks, keep each as it is done, and print what became of it.

    A record of another text of the claim, or of other versions, is measured anew from its first seed.
    """
    claim, path, made = source.load(), folder / f"{source.stem}.json", machine()
    record = None if overwrite else read(path)
    if record is None or (record.source, *versions(record.made)) != (source.digest, *versions(made)):
        record = Record(source.digest, made, {})
    console.print(f"{source.key} {claim.method}: {claim.says}")
    for seed in (seed for seed in seeds if seed not in record.runs):
        with console.status(f"seed {seed}, {len(record.runs)} done"):
            record = record.with_run(seed, measured(claim, seed))
        write(path, record, claim, source)
        console.print(f"  seed {seed}: {record.runs[seed].seconds:.1f} s")
    console.print(table(claim, record))
    return record


def versions(made: Mapping[str, Any]) -> tuple[str, str]:
    """What seeds of one record must have in common."""
    return made["guidekit"], made["torch"]


def measured(claim: Claim, seed: int) -> Run:
    """One seed of a claim.

    Raises:
        ClaimError: a figure that is no number, or one that a check asks for is missing.
    """
    began = time.perf_counter()
    figures = {name: float(value) for name, value in claim.measure(seed).items()}
    bad = [name for name, value in figures.items() if not math.isfinite(value)]
    missing = [check.figure for check in claim.checks if check.figure not in figures]
    if bad or missing:
        raise ClaimError(f"claim of row {claim.row}, seed {seed}: {', '.join(bad + missing)} is no finite number")
    return Run(figures, time.perf_counter() - began)


def table(claim: Claim, record: Record) -> Table:
    """Checks and their figures."""
    grid, figures = Table(title=record.status(claim), title_justify="left"), record.figures()
    for column in ("check", "figure", "95 % interval", "asked", "verdict"):
        grid.add_column(column)
    for check in claim.checks:
        figure = figures[check.figure]
        verdict = "met" if holds(check, figure) else "not met"
        grid.add_row(check.says, number(figure.mean), interval(figure), asked(check), verdict)
    return grid


def number(value: float) -> str:
    """Four digits, as the page has them."""
    return f"{value:.4g}"


def interval(figure: Estimate) -> str:
    """Both ends, or a dash."""
    return "-" if figure.interval is None else f"{number(figure.interval[0])} to {number(figure.interval[1])}"


def asked(check: Any) -> str:
    """The bounds of a check in words."""
    ends = [f"at least {check.least:g}" if check.least is not None else ""]
    ends += [f"at most {check.most:g}" if check.most is not None else ""]
    return " and ".join(filter(None, ends)) + (" (mean)" if check.by == "mean" else "")


__all__ = ["FOLDER", "RECORDS", "run", "run_claim"]
