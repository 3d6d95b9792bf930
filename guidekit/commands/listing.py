"""`guidekit list`: what there is, and what each thing needs."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from guidekit import registry
from guidekit.errors import UnknownNameError
from guidekit.reporting.console import Console
from guidekit.running.catalog import catalog, labels
from guidekit.running.groups import OF_ALL_TASKS, has_file, load_group

GROUPS = {"guidance": "guidance", "sampler": "samplers"}
"""Groups of the registry, and where the catalog has them."""

SECTIONS = ("domains", "guidance", "rewards", "tasks", "samplers", "priors")


ROOM = 25
"""Characters a column that a table needs to be readable; in a narrower place it is left with the columns of `BRIEF`."""

BRIEF = ("domain=", "what it does", "what it is")
"""Columns beside the first that a table keeps in a narrow place."""

OF_DOMAINS = ("domains", "rewards", "tasks", "priors")
"""Sections that a domain can be chosen of."""


def run(settings: Sequence[str]) -> int:
    """Print all sections, those named, or all that is known of a guidance or sampler; domain=NAME shows one's alone."""
    content = catalog()
    chosen = [setting.removeprefix("domain=") for setting in settings if setting.startswith("domain=")]
    settings = [setting for setting in settings if not setting.startswith("domain=")]
    for name in settings:
        if name not in SECTIONS and not _groups_of(name):
            raise UnknownNameError("section, guidance or sampler", name, [*SECTIONS, *_names()], most=12)
    if chosen:
        for name in chosen:
            if name not in content["domains"]:
                raise UnknownNameError("domain", name, content["domains"])
        for name in settings:
            if name not in OF_DOMAINS:
                raise ValueError(f"{name} is of no domain: domain= is for {', '.join(OF_DOMAINS)}")
        settings = settings or list(OF_DOMAINS)
        content = {**content, "domains": {name: content["domains"][name] for name in chosen}}
    console = Console()
    for section in settings or SECTIONS:
        if section in SECTIONS:
            listed: Listed = globals()[f"_{section}"](content)
            console.print(listed.drawn(console.width))
        for group in _groups_of(section) if section not in SECTIONS else ():
            _explain(console, group, section, content)
    return 0


def _names() -> list[str]:
    return [name for group in GROUPS for name in registry.entries(group)]


def _groups_of(name: str) -> list[str]:
    return [group for group in GROUPS if name in registry.entries(group)]


def _explain(console: Console, group: str, name: str, content: dict[str, Any]) -> None:
    """The documentation of a guidance or sampler, what it needs, and its settings."""
    told = content[GROUPS[group]][name]
    doc = inspect.getdoc(registry.get(group, name)) or ""
    console.print(f"{group}={name}\n\n{doc}\n", markup=False, highlight=False, soft_wrap=True)
    facts = {"needs": "needs", "on": "works on", "place": "place", "noise": "draws noise"}
    rows = [(words, told[key]) for key, words in facts.items() if key in told]
    if group == "guidance" and name in labels():
        rows.append(("posterior", f"{labels()[name]} (see docs/certified.md)"))
    table = _table("", "", "")
    table.show_header = False
    for row in [*rows, *((f"{group}.{key}=", _value(value)) for key, value in told["settings"].items())]:
        table.add_row(*row)
    console.print(table)


@dataclasses.dataclass
class Listed:
    """A section: rows under columns.

    Attributes:
        title: of the section.
        columns: their names.
        caption: below.
        brief: below, where there is no room for all columns: where the others are.
        rows: one text a column.
    """

    title: str
    columns: tuple[str, ...]
    caption: str = ""
    brief: str = ""
    rows: list[tuple[str, ...]] = dataclasses.field(default_factory=list)

    def drawn(self, width: int) -> Table:
        """As a table for so many characters a line."""
        room = width >= ROOM * len(self.columns)
        kept = [i for i, name in enumerate(self.columns) if room or i == 0 or not self.brief or name in BRIEF]
        table = _table(self.title, *(self.columns[i] for i in kept))
        table.caption = " ".join(filter(None, [self.caption, "" if room else self.brief])) or None
        for row in self.rows:
            table.add_row(*(row[i] for i in kept))
        return table


def _table(title: str, *columns: str) -> Table:
    """A table whose first column is not broken."""
    table = Table(title=title or None, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=place == 0)
    return table


def _settings(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in config.items() if key != "name")


def _value(value: Any) -> str:
    """As it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _of_file(group: str, name: str) -> str:
    return _settings(load_group(group, name)) if has_file(group, name) else ""


def _domains(content: dict[str, Any]) -> Listed:
    rows: list[tuple[str, ...]] = [(name, domain["objects"]) for name, domain in content["domains"].items()]
    return Listed("domains", ("domain=", "objects"), rows=rows)


def _guidance(content: dict[str, Any]) -> Listed:
    listed = Listed(
        "guidance",
        ("guidance=", "what it does", "needs", "works on", "place", "posterior"),
        "guidekit list svdd says more of one, and names its settings; posteriors: docs/certified.md",
        "(a wider terminal shows what each needs and works on)",
    )
    for name, one in content["guidance"].items():
        listed.rows.append((name, one["what"], one["needs"], one["on"], one["place"], labels().get(name, "-")))
    listed.rows.append(
        ("chain", "Several, inside first, in the order of their places: guidance.of=[svdd,best_of_n]", *4 * "-")
    )
    return listed


def _samplers(content: dict[str, Any]) -> Listed:
    rows: list[tuple[str, ...]] = [
        (name, one["what"], one["on"], one["noise"]) for name, one in content["samplers"].items()
    ]
    columns = ("sampler=", "what it does", "states", "draws noise")
    return Listed("samplers", columns, brief="guidekit list ddim says more of one, and names its settings", rows=rows)


def _rewards(content: dict[str, Any]) -> Listed:
    one = len(content["domains"]) == 1
    listed = Listed(
        "rewards",
        ("reward=", *([] if one else ["domain="]), "what it is", "settings"),
        "settings: reward.smarts=...; a text with signs such as [ ] = # ( ) in double quotation marks within single "
        "ones: 'reward.smarts=\"[#7]c1ccccc1\"'",
        "" if one else "(guidekit list rewards domain=molecules shows the settings of one domain)",
    )

    def row(name: str, domain: str, what: str, settings: str) -> None:
        listed.rows.append((name, *([] if one else [domain]), what, settings))

    for domain, told in content["domains"].items():
        for name, found in told["rewards"].items():
            row(name, domain, found["what"], _settings(found["settings"]))
    for name, what in content["rewards"].items():
        row(name, "any", what, _of_file("reward", name))
    function = _of_file("reward", "function").partition(", ")[2]
    row("module:function", "any", "A function of your own: object -> number, higher is better.", function)
    row(
        "command",
        "any",
        "A program: one object a line in, one number a line out, higher is better.",
        _of_file("reward", "command"),
    )
    for name in ("sum", "product", "negation"):
        row(name, "any", "Combination of other rewards.", _of_file("reward", name))
    return listed


def _tasks(content: dict[str, Any]) -> Listed:
    one = len(content["domains"]) == 1
    listed = Listed(
        "tasks",
        ("task=", *([] if one else ["domain="]), "what it is", "settings"),
        f"all take {', '.join(setting for setting in OF_ALL_TASKS if setting != 'second')} (docs/operators.md)",
        "" if one else "(guidekit list tasks domain=images shows the settings of one domain)",
    )
    found: dict[tuple[str, str], list[str]] = {}
    for key, domain in content["domains"].items():
        for name, what in domain["tasks"].items():
            found.setdefault((name, what), []).append(key)
    for (name, what), domains in sorted(found.items()):
        settings = load_group("task", name) if has_file("task", name) else {}
        own = {key: value for key, value in settings.items() if key not in OF_ALL_TASKS}
        listed.rows.append((name, *([] if one else [", ".join(domains)]), what, _settings(own)))
    return listed


def _priors(content: dict[str, Any]) -> Listed:
    listed = Listed("priors", ("domain=", "prior=", "made from"))
    for key, domain in content["domains"].items():
        listed.rows += [(key, name, text) for name, text in domain["priors"].items()]
    return listed
