"""Names that users choose by: guidances and samplers are found by their mark, in this package and in others.

A method says `@register("guidance", "svdd")` above its class or function, and that is all: sources are read, not imported,
so a broken module of one method takes down nothing but itself, and listing names needs no torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from guidekit.names import UnknownNameError

Thing = TypeVar("Thing")
PACKAGES = {
    "guidance": ("guidekit.guidance",),
    "schedule": ("guidekit.guidance",),
    "sampler": ("guidekit.samplers", "guidekit.inversion"),
}
"""Where the shipped members of a group are; the first package exports them all."""


def register(group: str, name: str) -> Callable[[Thing], Thing]:
    """Mark a class or function as what users get by a name of a group; read from the source by `entries`."""

    def mark(thing: Thing) -> Thing:
        thing.registered = (group, name)  # type: ignore[attr-defined]
        return thing

    return mark


@dataclass(frozen=True)
class Entry:
    """A name of a group.

    Args:
        group, name: as users write them.
        module, attribute: where it is.
        summary: first line of its docstring.
    """

    group: str
    name: str
    module: str
    attribute: str
    summary: str

    def load(self) -> Any:
        """The class or function; imports its module."""
        return getattr(importlib.import_module(self.module), self.attribute)


@lru_cache(maxsize=None)
def entries(group: str) -> dict[str, Entry]:
    """All members of a group by name, in alphabetical order."""
    marked = [entry for package in PACKAGES[group] for entry in _scanned(package)]
    found = {entry.name: entry for entry in marked if entry.group == group}
    return dict(sorted(found.items()))


def get(group: str, name: str) -> Any:
    """The class or function behind a name.

    Raises:
        UnknownNameError: no such name.
    """
    if name not in entries(group):
        raise UnknownNameError(group, name, entries(group))
    return entries(group)[name].load()


def exported(group: str, attribute: str) -> Any:
    """What is marked in a group's package, in whatever group, by its class or function; for the package's `__getattr__`."""
    for entry in (entry for package in PACKAGES[group] for entry in _scanned(package)):
        if entry.attribute == attribute:
            return entry.load()
    raise AttributeError(f"module {PACKAGES[group][0]!r} has no attribute {attribute!r}")


@lru_cache(maxsize=None)
def _scanned(package: str) -> tuple[Entry, ...]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return ()
    found: list[Entry] = []
    for folder in map(Path, spec.submodule_search_locations):
        for path in sorted(folder.rglob("*.py")):
            module = ".".join((package, *path.relative_to(folder).with_suffix("").parts))
            found.extend(_marked(path, module.removesuffix(".__init__")))
    return tuple(found)


def _marked(path: Path, module: str) -> Iterator[Entry]:
    """What a source marks; nothing where it cannot be parsed."""
    text = path.read_text(encoding="utf-8")
    if "@register(" not in text:
        return
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "register":
                group, name = (ast.literal_eval(argument) for argument in mark.args)
                summary = (ast.get_docstring(node) or "").split("\n")[0]
                yield Entry(group, name, module, node.name, summary)
