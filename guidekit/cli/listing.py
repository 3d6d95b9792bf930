"""`guidekit list`: what there is, and what each thing needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from guidekit.cli.catalog import catalog
from guidekit.console import Console
from guidekit.names import UnknownNameError
from guidekit.running.groups import group_choices, load_group

SECTIONS = ("domains", "guidance", "rewards", "tasks", "samplers", "priors")


def run(settings: Sequence[str]) -> int:
    """Print all sections, or those named."""
    for name in settings:
        if name not in SECTIONS:
            raise UnknownNameError("section", name, SECTIONS)
    console, content = Console(), catalog()
    for section in settings or SECTIONS:
        console.print(globals()[f"_{section}"](content))
    return 0


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _settings(group: str, name: str) -> str:
    config = load_group(group, name) if name in group_choices(group) else {}
    return ", ".join(f"{key}={value}" for key, value in config.items() if key not in ("_target_", "name"))


def _domains(content: dict[str, Any]) -> Table:
    table = _table("domains", "domain=", "objects")
    for name, domain in content["domains"].items():
        table.add_row(name, domain["objects"])
    return table


def _guidance(content: dict[str, Any]) -> Table:
    table = _table("guidance", "guidance=", "what it does", "needs", "settings")
    for name, one in content["guidance"].items():
        table.add_row(name, one["what"], one["needs"], _settings("guidance", name))
    return table


def _samplers(content: dict[str, Any]) -> Table:
    table = _table("samplers", "sampler=", "what it does", "states")
    for name, one in content["samplers"].items():
        table.add_row(name, one["what"], one["states"])
    return table


def _rewards(content: dict[str, Any]) -> Table:
    table = _table("rewards", "reward=", "domain=", "what it is", "settings")
    made = [(name, key, what) for key, domain in content["domains"].items() for name, what in domain["rewards"].items()]
    for name, domain, what in [*made, *((name, "any", what) for name, what in content["rewards"].items())]:
        table.add_row(name, domain, what, _settings("reward", name))
    table.add_row("module:function", "any", "A function of your own: object -> number, higher is better.", "")
    for name in ("sum", "product", "negation"):
        settings = ", ".join(key for key in load_group("reward", name) if key != "name")
        table.add_row(name, "any", "Combination of other rewards.", settings)
    return table


def _tasks(content: dict[str, Any]) -> Table:
    table = _table("tasks", "task=", "domain=", "what it is", "settings")
    for key, domain in content["domains"].items():
        for name, what in domain["tasks"].items():
            table.add_row(name, key, what, _settings("task", name))
    return table


def _priors(content: dict[str, Any]) -> Table:
    table = _table("priors", "domain=", "prior=", "made from")
    for key, domain in content["domains"].items():
        for name, text in domain["priors"].items():
            table.add_row(key, name, text)
    return table
