"""A claim is a program: what must hold for a method, what measures it, and the bounds set before it is run."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from guidekit.errors import UnknownNameError

FOLDER = Path(__file__).parent
FILE = re.compile(r"(E?)(0*)(\d+)([a-z]?)_\w+\.py")
"""Names of claim files: the number of the row, a letter where a row has several claims, and a name."""


class ClaimError(ValueError):
    """A claim that cannot be: the message says what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One statement of a claim: a figure within bounds.

    Args:
        says: what holds, in words.
        figure: name of a number that `measure` returns.
        least, most: bounds, inclusive; None is none.
        by: "interval" asks that the whole 95 % interval over seeds is within them, "mean" that its middle is.
    """

    says: str
    figure: str
    least: float | None = None
    most: float | None = None
    by: str = "interval"

    def __post_init__(self) -> None:
        """Refuse what no figure could miss, or none could meet."""
        if self.by not in ("interval", "mean"):
            raise ClaimError(f"check of {self.figure}: by={self.by!r}; accepted: 'interval', 'mean'")
        bounds = [bound for bound in (self.least, self.most) if bound is not None]
        if not bounds or not all(map(math.isfinite, bounds)) or bounds != sorted(bounds):
            raise ClaimError(f"check of {self.figure}: least={self.least} and most={self.most} bound nothing")


@dataclasses.dataclass(frozen=True)
class Claim:
    """What must hold for a method.

    Args:
        row: its number in `rows.toml`, such as 2 or "E29".
        method: its name there.
        provides: public names that it is about, below `guidekit`: "guidance.CFG".
        tier: A, B, C, or "" for what has none.
        says: what is claimed, in a sentence or two.
        domains: where it is run; "exact" is an analytic prior.
        checks: the statements, each with its bounds.
        measure: figures of one seed; what is compared is compared within the seed, as a difference.
        oracles: tests of the same method, "tests/oracles/test_x.py::test_y".
        longer: what a longer run would add; empty where nothing.
    """

    row: int | str
    method: str
    provides: tuple[str, ...]
    tier: str
    says: str
    domains: tuple[str, ...]
    checks: tuple[Check, ...]
    measure: Callable[[int], Mapping[str, float]]
    oracles: tuple[str, ...] = ()
    longer: str = ""

    def __post_init__(self) -> None:
        """Refuse a claim that checks nothing or names nothing."""
        if not self.checks or not self.provides:
            raise ClaimError(f"claim of row {self.row}: at least one check and one public name are needed")


@dataclasses.dataclass(frozen=True)
class Source:
    """The file of a claim.

    Args:
        path: where it is.
        row: number of its row, as in `rows.toml`.
        key: number of the claim as users write it, "2" or "2b".
        stem: name of its record, "002" or "002b".
    """

    path: Path
    row: str
    key: str
    stem: str

    @property
    def digest(self) -> str:
        """Hash of the text, by which a record knows what it was measured by."""
        return hashlib.sha256(self.path.read_text(encoding="utf-8").encode()).hexdigest()

    def load(self) -> Claim:
        """The claim; runs its file.

        Raises:
            ClaimError: the file has none, or one of another row.
        """
        name = f"{__package__}.claim_{self.stem}"
        spec = importlib.util.spec_from_file_location(name, self.path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        claim = getattr(module, "CLAIM", None)
        if not isinstance(claim, Claim):
            raise ClaimError(f"{self.path.name} has no CLAIM = Claim(...)")
        if str(claim.row) != self.row:
            raise ClaimError(f"{self.path.name} claims something of row {claim.row}")
        return claim


def sources(folder: Path = FOLDER) -> list[Source]:
    """All claim files of a folder, in the order of their rows; none is run."""
    found = []
    for path in sorted(folder.iterdir()):
        if match := FILE.fullmatch(path.name):
            mark, zeros, number, letter = match.groups()
            row = f"{mark}{number}"
            found.append(Source(path, row, row + letter, f"{mark}{zeros}{number}{letter}"))
    return sorted(found, key=lambda source: (source.stem.startswith("E"), int(source.row.lstrip("E")), source.key))


def chosen(rows: object, folder: Path = FOLDER) -> list[Source]:
    """The claim files of one row or of several; all where None.

    Args:
        rows: such as 2, "E29", "2b" or [2, 16]; a row means all its claims.

    Raises:
        UnknownNameError: there is no claim for one of them.
    """
    known = sources(folder)
    if rows is None:
        return known
    found: list[Source] = []
    for row in rows if isinstance(rows, list | tuple) else [rows]:
        match = [source for source in known if str(row) in (source.key, source.row)]
        if not match:
            raise UnknownNameError("claim for row", str(row), {source.row for source in known})
        found += match
    return list(dict.fromkeys(found))
