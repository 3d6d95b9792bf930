"""`guidekit list`: what there is, and what each thing needs."""

from __future__ import annotations

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
            console.print(globals()[f"_{section}"](content))
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


def _domains(content: dict[str, Any]) -> Table:
    table = _table("domains", "domain=", "objects")
    for name, domain in content["domains"].items():
        table.add_row(name, domain["objects"])
    return table


def _guidance(content: dict[str, Any]) -> Table:
    table = _table("guidance", "guidance=", "what it does", "needs", "works on", "place", "posterior")
    table.caption = "guidekit list svdd says more of one, and names its settings; posteriors: docs/certified.md"
    for name, one in content["guidance"].items():
        table.add_row(name, one["what"], one["needs"], one["on"], one["place"], labels().get(name, "-"))
    table.add_row(
        "chain", "Several, inside first, in the order of their places: guidance.of=[svdd,best_of_n]", *4 * "-"
    )
    return table


def _samplers(content: dict[str, Any]) -> Table:
    table = _table("samplers", "sampler=", "what it does", "states", "draws noise")
    for name, one in content["samplers"].items():
        table.add_row(name, one["what"], one["on"], one["noise"])
    return table


def _rewards(content: dict[str, Any]) -> Table:
    one = len(content["domains"]) == 1
    table = _table("rewards", "reward=", *([] if one else ["domain="]), "what it is", "settings")
    table.caption = (
        "settings: reward.smarts=...; a text with signs such as [ ] = # ( ) in double quotation marks within single "
        "ones: 'reward.smarts=\"[#7]c1ccccc1\"'"
    )

    def row(name: str, domain: str, what: str, settings: str) -> None:
        table.add_row(name, *([] if one else [domain]), what, settings)

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
    return table


def _tasks(content: dict[str, Any]) -> Table:
    table = _table("tasks", "task=", "domain=", "what it is", "settings")
    table.caption = f"all take {', '.join(one for one in OF_ALL_TASKS if one != 'second')} (docs/operators.md)"
    found: dict[tuple[str, str], list[str]] = {}
    for key, domain in content["domains"].items():
        for name, what in domain["tasks"].items():
            found.setdefault((name, what), []).append(key)
    for (name, what), domains in sorted(found.items()):
        settings = load_group("task", name) if has_file("task", name) else {}
        own = {key: value for key, value in settings.items() if key not in OF_ALL_TASKS}
        table.add_row(name, ", ".join(domains), what, _settings(own))
    return table


def _priors(content: dict[str, Any]) -> Table:
    table = _table("priors", "domain=", "prior=", "made from")
    for key, domain in content["domains"].items():
        for name, text in domain["priors"].items():
            table.add_row(key, name, text)
    return table
