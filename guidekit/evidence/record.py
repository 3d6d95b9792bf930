"""What a claim measured, in a JSON file: figures of every seed, and on what they were made."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import guidekit
from guidekit.evidence.claim import Claim, ClaimError, Source
from guidekit.evidence.statistics import Estimate, estimate, holds, verdict
from guidekit.io.files import write_atomic


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed.

    Args:
        figures: what it measured, by name.
        seconds: it took.
    """

    figures: Mapping[str, float]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Record:
    """All finished seeds of a claim.

    Args:
        source: hash of the claim file that measured them.
        made: versions and machine.
        runs: by seed, in order.
    """

    source: str
    made: Mapping[str, Any]
    runs: Mapping[int, Run]

    def with_run(self, seed: int, run: Run) -> Record:
        """The record with one more seed."""
        return dataclasses.replace(self, runs=dict(sorted({**self.runs, seed: run}.items())))

    def figures(self) -> dict[str, Estimate]:
        """Mean and interval of every figure that all seeds have."""
        runs = list(self.runs.values())
        names = [name for name in runs[0].figures if all(name in run.figures for run in runs)] if runs else []
        return {name: estimate([run.figures[name] for run in runs]) for name in names}

    def status(self, claim: Claim) -> str:
        """See `verdict`."""
        return verdict(claim.checks, self.figures())

    def document(self, claim: Claim, source: Source) -> dict[str, Any]:
        """What is written: the record, and what follows from it for the claim."""
        figures = self.figures()
        checks = [
            {**dataclasses.asdict(check), "verdict": "met" if holds(check, figures[check.figure]) else "not met"}
            for check in claim.checks
        ]
        return {
            "row": claim.row,
            "method": claim.method,
            "says": claim.says,
            "status": self.status(claim),
            "checks": checks,
            "figures": {name: dataclasses.asdict(figure) for name, figure in figures.items()},
            "seeds": list(self.runs),
            "seconds": [round(run.seconds, 1) for run in self.runs.values()],
            "command": command(source, self.runs),
            **self.made,
            "source": self.source,
        }


def command(source: Source, seeds: Mapping[int, Any]) -> str:
    """The line that measures the same again."""
    return f"guidekit bench evidence row={source.key} 'seeds={json.dumps(list(seeds))}'"


def machine() -> dict[str, Any]:
    """Versions and hardware of this process."""
    return {
        "guidekit": guidekit.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """The model of the processor, as far as the system tells."""
    known = Path("/proc/cpuinfo")
    if known.exists():
        for line in known.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read(path: Path) -> Record | None:
    """The record in a file; None where there is no such file.

    Raises:
        ClaimError: the file holds something else.
    """
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        values = {name: figure["values"] for name, figure in data["figures"].items()}
        runs = {
            int(seed): Run({name: float(row[i]) for name, row in values.items()}, float(data["seconds"][i]))
            for i, seed in enumerate(data["seeds"])
        }
        made = {name: data[name] for name in ("guidekit", "torch", "python", "processor", "threads")}
        return Record(str(data["source"]), made, runs)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ClaimError(f"{path} is no record of a claim; delete it, or pass overwrite=true") from error


def write(path: Path, record: Record, claim: Claim, source: Source) -> None:
    """Write a record in one step."""
    text = json.dumps(record.document(claim, source), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode() + b"\n")
