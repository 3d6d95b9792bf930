"""Trials of a search on disk: what is there is not tried again."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guidekit.io.files import write_atomic
from guidekit.running.folder import OutputError
from guidekit.search.space import Point, Space

RECORD, TABLE = "search.json", "trials.csv"


@dataclasses.dataclass(frozen=True)
class Trial:
    """A point that was tried.

    Args:
        point: values of the options.
        value: of the metric; NaN where the samples have none.
        rows: states that the network looked at.
        seconds: it took.
        failure: why there is no value.
    """

    point: Point
    value: float
    rows: int
    seconds: float
    failure: str = ""


class Trials:
    """All trials of a search, and the folder that they are kept in.

    Args:
        folder: made where it is missing.
        identity: what makes this search what it is, as JSON; the budget is no part of it.
        space: of the points.
        overwrite: drop another search that lies there.

    Attributes:
        done: in order.

    Raises:
        OutputError: the folder holds something else.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], space: Space, overwrite: bool = False) -> None:
        self.folder, self.space, self.done = folder, space, list[Trial]()
        self.identity = json.loads(json.dumps(identity, default=str))
        record = folder / RECORD
        if record.is_file() and not overwrite:
            self.done = self._read(record)
        elif folder.exists() and not record.is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"output={folder}: it holds other things than a search; name another folder")
        folder.mkdir(parents=True, exist_ok=True)

    def _read(self, record: Path) -> list[Trial]:
        try:
            found = json.loads(record.read_text())
            same = found["identity"] == self.identity
            trials = [Trial(tuple(one.pop("point")), _number(one.pop("value")), **one) for one in found["trials"]]
        except (ValueError, KeyError, TypeError):
            same, trials = False, []
        if not same:
            raise OutputError(
                f"{self.folder} holds another search; repeat its settings, or pass overwrite=true or another output="
            )
        return trials

    @property
    def rows(self) -> int:
        """Spent so far."""
        return sum(one.rows for one in self.done)

    def add(self, trial: Trial) -> None:
        """Keep a trial, in memory and on disk."""
        self.done.append(trial)
        kept = [dataclasses.asdict(one) | {"value": None if math.isnan(one.value) else one.value} for one in self.done]
        write_atomic(
            self.folder / RECORD, (json.dumps({"identity": self.identity, "trials": kept}, indent=1) + "\n").encode()
        )
        text = io.StringIO()
        writer = csv.writer(text)
        names = [option.name for option in self.space.options]
        writer.writerow(["trial", *names, "value", "network_rows", "seconds", "failure"])
        for number, one in enumerate(self.done, 1):
            values = self.space.settings(one.point).values()
            writer.writerow([number, *values, one.value, one.rows, f"{one.seconds:.2f}", one.failure])
        write_atomic(self.folder / TABLE, text.getvalue().encode())


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
