"""Names that users choose by: methods are found by their mark, in this package and, by entry points, in others.

A method says `@register("guidance", "svdd")` above its class or function, and that is all: sources are read, not
imported, so a broken module of one method takes down nothing but itself, and listing names needs no torch. Another
package names its own in the entry point groups of `ENTRY_POINTS`. What can be set is what signatures say.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import re
import sys
import typing
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from guidekit.errors import UnknownNameError
from guidekit.preset import remembered

Thing = TypeVar("Thing")
PACKAGES = {
    "guidance": ("guidekit.guidance",),
    "schedule": ("guidekit.guidance",),
    "estimate": ("guidekit.guidance",),
    "sampler": ("guidekit.samplers", "guidekit.inversion"),
}
"""Where the shipped members of a group are; the first package exports them all."""

ENTRY_POINTS = {
    "guidance": "guidekit.guidance",
    "schedule": "guidekit.schedules",
    "estimate": "guidekit.estimates",
    "sampler": "guidekit.samplers",
}
"""Entry point groups in which other packages name theirs: name = "package.module:Class"."""


NAMED = ("guidance", "sampler")
"""Groups whose functions are presets: what they make is named after them."""


class BrokenError(ValueError):
    """What is behind a name cannot be loaded; the message says why."""


def register(group: str, name: str) -> Callable[[Thing], Thing]:
    """Mark a class or function as what users get by a name of a group; read from the source by `entries`.

    What a function makes is named after it, and shown as it was called (`guidekit.preset`).
    """

    def mark(thing: Thing) -> Thing:
        marked: Any = remembered(thing) if group in NAMED and inspect.isfunction(thing) else thing
        marked.registered = (group, name)
        return marked

    return mark


@dataclasses.dataclass(frozen=True)
class Entry:
    """A name of a group.

    Args:
        group, name: as users write them.
        module, attribute: where it is.
        summary: first paragraph of its docstring in one line; empty where only an import could tell.
        package: that brings it; empty for guidekit.
        fault: why it cannot be loaded, as far as its source tells.
    """

    group: str
    name: str
    module: str
    attribute: str
    summary: str = ""
    package: str = ""
    fault: str = ""

    def load(self) -> Any:
        """The class or function; imports its module.

        Raises:
            BrokenError: that fails, for whatever reason.
        """
        try:
            if self.fault:
                raise BrokenError(self.fault)
            found = importlib.import_module(self.module)
            for part in self.attribute.split("."):
                found = getattr(found, part)
            return found
        except Exception as error:
            reason = str(error) if isinstance(error, BrokenError) else f"{type(error).__name__}: {error}"
            where = f"{self.module} of {self.package}" if self.package else self.module
            raise BrokenError(f"{self.group} {self.name} cannot be loaded from {where}: {reason}") from error


@cache
def entries(group: str) -> dict[str, Entry]:
    """All members of a group by name, in alphabetical order; those of other packages beside the shipped ones."""
    marked = [entry for package in PACKAGES[group] for entry in _scanned(package)]
    found = {entry.name: entry for entry in marked if entry.group == group}
    return dict(sorted({**external(ENTRY_POINTS[group], group, found), **found}.items()))


def external(points: str, group: str, shipped: typing.Collection[str] = ()) -> dict[str, Entry]:
    """What other packages name in a group of entry points; a shipped name stays what it is, with a warning.

    Args:
        points: the group of entry points.
        group: as users write it.
        shipped: names that are taken.
    """
    found: dict[str, Entry] = {}
    for point in sorted(entry_points(group=points), key=lambda point: point.name):
        package = point.dist.name if point.dist is not None else point.module
        if point.name in shipped or point.name in found:
            other = "guidekit's own" if point.name in shipped else f"that of {found[point.name].package}"
            warnings.warn(f"{group} {point.name!r} of package {package} is hidden by {other}", stacklevel=2)
        else:
            found[point.name] = Entry(group, point.name, point.module, point.attr, package=package)
    return found


def get(group: str, name: str) -> Any:
    """The class or function behind a name.

    Raises:
        UnknownNameError: no such name.
        BrokenError: its module cannot be imported.
    """
    if name not in entries(group):
        raise UnknownNameError(group, name, entries(group))
    return entries(group)[name].load()


def usable(group: str) -> Iterator[tuple[str, Any]]:
    """(name, class or function) of all members of a group that can be loaded."""
    for name, entry in entries(group).items():
        try:
            yield name, entry.load()
        except BrokenError:
            continue


def exported(group: str, attribute: str) -> Any:
    """What is marked in a group's package, in any group, by its class or function; for the package's `__getattr__`."""
    for entry in (entry for package in PACKAGES[group] for entry in _scanned(package)):
        if entry.attribute == attribute:
            return entry.load()
    raise AttributeError(f"module {PACKAGES[group][0]!r} has no attribute {attribute!r}")


@cache
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


MARK = re.compile(r'^@register\("(\w+)", "(\w+)"\)\n(?:@.*\n)*(?:class|def) (\w+)', re.MULTILINE)


def _marked(path: Path, module: str) -> Iterator[Entry]:
    """What a source marks; of one that cannot be parsed, what it seems to."""
    text = path.read_text(encoding="utf-8")
    if "@register(" not in text:
        return
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        fault = f"{error.msg} ({path.name}, line {error.lineno})"
        for group, name, attribute in MARK.findall(text):
            yield Entry(group, name, module, attribute, fault=fault)
        return
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "register":
                group, name = (ast.literal_eval(argument) for argument in mark.args)
                summary = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
                yield Entry(group, name, module, node.name, summary)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What can be set of a method.

    Args:
        name: of the argument.
        annotation: its type; `Any` where none is given, or it cannot be evaluated.
        default: its value where nothing is given.
        required: whether it has none.
    """

    name: str
    annotation: Any
    default: Any
    required: bool


def settings(kind: Callable[..., Any]) -> tuple[Setting, ...]:
    """The arguments of a class or function, with types and defaults."""
    factories = {}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        made = [field for field in dataclasses.fields(kind) if field.default_factory is not dataclasses.MISSING]
        factories = {field.name: field.default_factory for field in made}
    found = []
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is parameter.empty
        default = factories[parameter.name]() if parameter.name in factories else parameter.default  # type: ignore[operator]
        annotation = _annotation(kind, parameter)
        found.append(Setting(parameter.name, annotation, None if required else default, required))
    return tuple(found)


def _annotation(kind: Any, parameter: inspect.Parameter) -> Any:
    """The type of an argument, evaluated where it was written."""
    given = parameter.annotation
    if given is parameter.empty:
        return Any
    owners = inspect.getmro(kind) if inspect.isclass(kind) else (kind,)
    owner = next((one for one in owners if parameter.name in vars(one).get("__annotations__", ())), owners[0])
    place = vars(sys.modules[owner.__module__])
    try:
        holder = type("Holder", (), {"__annotations__": {"value": given}})
        return typing.get_type_hints(holder, place, include_extras=True)["value"]
    except (NameError, TypeError, SyntaxError):
        return Any
