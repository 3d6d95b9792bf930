"""`guidekit list`: what there is, and what each thing needs."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guidekit.domain import MissingExtraError, UnknownNameError, domain_names, load_domain
from guidekit.running.build import OF_PRIORS
from guidekit.running.groups import group_choices, load_group

SECTIONS = ("domains", "guidance", "rewards", "tasks", "samplers", "priors")


def run(settings: Sequence[str]) -> int:
    """Print all sections, or those named."""
    for name in settings:
        if name not in SECTIONS:
            raise UnknownNameError("section", name, SECTIONS)
    console = Console()
    for section in settings or SECTIONS:
        console.print(globals()[f"_{section}"]())
    return 0


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _domains() -> Table:
    table = _table("domains", "domain=", "objects")
    for name in domain_names():
        try:
            table.add_row(name, load_domain(name).objects)
        except MissingExtraError as error:
            table.add_row(name, str(error))
    return table


def _guidance() -> Table:
    table = _table("guidance", "guidance=", "what it does", "needs", "settings")
    for name in group_choices("guidance"):
        config = load_group("guidance", name)
        target = _target(config)
        if target is not None:
            settings = ", ".join(f"{key}={value}" for key, value in config.items() if key != "_target_")
            table.add_row(name, _first_line(target), needs(target), settings)
    return table


def needs(target: object) -> str:
    """What a guidance cannot work without: its own `needs`, otherwise what its parameters say."""
    wants = {
        "reward": "reward (any)",
        "objective": "differentiable objective, real-valued states",
        "likelihood": "differentiable likelihood, real-valued states",
        "verifier": "domain with a verifier, tokens",
        "value": "value (guidekit train trainer=value)",
    }
    parameters = dict(inspect.signature(target).parameters)
    if "value" in parameters and parameters["value"].default is not inspect.Parameter.empty:
        del parameters["value"]  # it may be given, it need not
    found = getattr(target, "needs", None) or [text for key, text in wants.items() if key in parameters]
    return ", ".join(found) or "-"


def _samplers() -> Table:
    table = _table("samplers", "sampler=", "what it does", "states")
    for name in group_choices("sampler"):
        target = _target(load_group("sampler", name))
        if target is not None:
            kinds = {
                "GaussianProcess": "real-valued",
                "ReflectedProcess": "reals in a box",
                "DiscreteProcess": "tokens",
                "Masked": "masked tokens",
            }
            states = ", ".join(kinds[kind.__name__] for kind in target.processes)
            table.add_row(name, _first_line(target), states)
    return table


def _rewards() -> Table:
    table = _table("rewards", "reward=", "domain=", "what it is", "settings")
    made = [(name, domain.name, domain.rewards.kinds[name]) for domain in _loaded() for name in domain.rewards]
    for name, domain, kind in [*made, *((name, "any", kind) for name, kind in OF_PRIORS.items())]:
        config = load_group("reward", name) if name in group_choices("reward") else {}
        settings = ", ".join(f"{key}={value}" for key, value in config.items() if key != "name")
        table.add_row(name, domain, _first_line(kind), settings)
    table.add_row("module:function", "any", "A function of your own: object -> number, higher is better.", "")
    for name in ("sum", "product", "negation"):
        settings = ", ".join(key for key in load_group("reward", name) if key != "name")
        table.add_row(name, "any", "Combination of other rewards.", settings)
    return table


def _tasks() -> Table:
    table = _table("tasks", "task=", "domain=", "what it is", "settings")
    for domain in _loaded():
        for name, make in domain.tasks.items():
            settings = ", ".join(f"{key}={value}" for key, value in load_group("task", name).items() if key != "name")
            table.add_row(name, domain.name, _first_line(make), settings)
    return table


def _priors() -> Table:
    table = _table("priors", "domain=", "prior=", "made from")
    for domain in _loaded():
        for name, text in domain.priors().items():
            table.add_row(domain.name, name, text)
    return table


def _loaded():
    for name in domain_names():
        try:
            yield load_domain(name)
        except MissingExtraError:
            continue


def _target(config: dict) -> object | None:
    if config.get("_target_") is None:
        return None
    from hydra.utils import get_object

    return get_object(config["_target_"])


def _first_line(target: object) -> str:
    return escape((inspect.getdoc(target) or "").split("\n\n")[0].replace("\n", " "))
