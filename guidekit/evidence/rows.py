"""The rows of docs/methods.md: what is known of every method beside its claims."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from guidekit import registry

FILE = Path(__file__).with_name("rows.toml")


@dataclasses.dataclass(frozen=True)
class Row:
    """A method, as `rows.toml` has it.

    Args:
        number: 1 to 104 of the papers that the project set out from, or E1, E2, ... of what is beside them.
        method: short name, with the identifier of its paper for the E rows.
        title: of the paper, for the 104.
        tier: A, B, C, or "".
        names: public names below `guidekit`, as users write them: "guidance.CFG(negative=...)".
        planned: names of what is still to come.
        settings: of the command line that belong to it, such as "trainer=refiner".
        use: how the names go together, in place of their list.
        oracles: tests that compare it with what is known exactly: a file, or a file and what it shows.
        domains: where it has been run end to end.
        missing: what it lacks beside what is claimed.
        note: where it holds, or how it came about.
        recorded: figures from before there were claims.
    """

    number: str
    method: str
    title: str = ""
    tier: str = ""
    names: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    use: str = ""
    oracles: tuple[str, ...] = ()
    domains: str = ""
    missing: str = ""
    note: str = ""
    recorded: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """All names as the page has them."""
        return self.use or ", ".join(f"`{name}`" for name in (*self.names, *self.settings, *self.planned))

    @property
    def exists(self) -> bool:
        """Whether anything of it can be imported."""
        return any(resolves(name) for name in self.names)


def rows(path: Path = FILE) -> list[Row]:
    """All rows, in the order of the file."""
    return [_row(table) for table in tomllib.loads(path.read_text(encoding="utf-8"))["row"]]


def _row(table: dict[str, Any]) -> Row:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Row(**fields)


@cache
def resolves(name: str) -> bool:
    """Whether a public name exists, and takes the arguments that it is written with.

    Args:
        name: below `guidekit`, such as "guidance.CFG(negative=...)" or "evaluation.likelihood.bits_per_token".
    """
    dotted, _, arguments = name.partition("(")
    found: Any = importlib.import_module("guidekit")
    place = "guidekit"
    for part in dotted.split("."):
        place = f"{place}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(place)
            except ModuleNotFoundError:
                return False
    known = {setting.name for setting in registry.settings(found)} if arguments else set()
    return set(re.findall(r"(\w+)=", arguments)) <= known


def tests_in(path: Path) -> set[str]:
    """Names of the test functions of a file, by its source; those of classes as "Class::test_x"."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return {name for name in found if name.split("::")[-1].startswith("test_")}


def has_test(identifier: str, root: Path) -> bool:
    """Whether a test file exists, and has the test that is named behind "::"."""
    file, _, name = identifier.partition(": ")[0].partition("::")
    path = root / file
    return path.is_file() and (not name or name in tests_in(path))
