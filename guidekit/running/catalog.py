"""What `guidekit list` says of each thing, written down in catalog.json so that it can be told without loading torch.

`python -m guidekit.running.catalog` writes the file, and the table of docs/guidance/README.md, anew from the code; a
test says when that is due. What other packages bring, and what is not in the file, is looked at when it is asked for.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points, requires
from pathlib import Path
from typing import Any

from guidekit import registry

FILE = Path(__file__).with_name("catalog.json")


@cache
def shipped() -> dict[str, Any]:
    """The content of the file."""
    return json.loads(FILE.read_text())


def catalog() -> dict[str, Any]:
    """The content of the file, with what is registered now: other packages' too, and why some cannot be loaded."""
    content = shipped()
    known, rewards = content["domains"], list(entry_points(group="guidekit.rewards"))
    return {
        "domains": {entry.name: _domain(entry, known.get(entry.name), rewards) for entry in _entries()},
        "guidance": _members("guidance", content["guidance"]),
        "samplers": _members("sampler", content["samplers"]),
        "rewards": content["rewards"],
    }


POSTERIORS = Path(__file__).parents[1] / "evidence" / "posterior.json"
"""Cards of posterior solvers, see docs/certified.md."""


@cache
def labels() -> dict[str, str]:
    """One word for the posterior of every guidance that has a card: calibrated, narrow, wide, biased or point."""
    return json.loads(POSTERIORS.read_text())["labels"] if POSTERIORS.is_file() else {}


def _members(group: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of the members of a group of the registry."""
    found = {}
    for name, entry in registry.entries(group).items():
        if name in known and not entry.package and not entry.fault:
            found[name] = known[name]
            continue
        try:
            found[name] = described(group, name, entry.load())
        except ValueError as error:  # broken, or of arguments that nothing stands in for
            found[name] = {"what": str(error), "settings": {}} | dict.fromkeys(("needs", "on", "place", "noise"), "-")
    return found


def described(group: str, name: str, kind: Callable[..., Any]) -> dict[str, Any]:
    """What is told of a guidance or a sampler."""
    from guidekit.running.facts import guidance_facts, sampler_facts
    from guidekit.running.settings import configuration

    told = (guidance_facts if group == "guidance" else sampler_facts)(name, kind)
    return {"what": first_line(kind), **told, "settings": configuration(kind)}


def _entries() -> list[EntryPoint]:
    """By name; of two, the shipped one last, which counts."""
    found = entry_points(group="guidekit.domains")
    return sorted(found, key=lambda entry: (entry.name, entry.value.startswith("guidekit.")))


def _domain(entry: EntryPoint, known: dict[str, Any] | None, rewards: Sequence[EntryPoint]) -> dict[str, Any]:
    if known is not None and known["class"] == entry.value:
        gone = lacking(entry.name)
        if not gone:
            return {**known, "rewards": known["rewards"] | _others(entry.name, rewards)}
        told = f'{known["objects"]} (not installed: {", ".join(gone)}; pip install "guidekit[{entry.name}]")'
        return {**known, "objects": told}
    from guidekit.installed import load_domain

    try:
        return of_domain(load_domain(entry.name))
    except Exception as error:  # a domain of another package: that it is broken is all that can be said of it
        return {"objects": f"{type(error).__name__}: {error}", "rewards": {}, "tasks": {}, "priors": {}}


def _others(domain: str, rewards: Sequence[EntryPoint]) -> dict[str, Any]:
    """Rewards of other packages for a domain."""
    found = {}
    for point in rewards:
        of, _, name = point.name.rpartition(".")
        if of == domain:
            try:
                found[name] = of_reward(point.load())
            except Exception as error:
                found[name] = {"what": f"{type(error).__name__}: {error}", "settings": {}}
    return found


def lacking(extra: str) -> list[str]:
    """Packages of an extra of guidekit, and of the extras it stands for, that are not installed."""
    from packaging.requirements import Requirement

    gone = []
    for requirement in map(Requirement, requires("guidekit") or ()):
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.name == "guidekit":
            gone += [one for inner in sorted(requirement.extras) for one in lacking(inner)]
            continue
        try:
            distribution(requirement.name)
        except PackageNotFoundError:
            gone.append(requirement.name)
    return gone


def made() -> dict[str, Any]:
    """The content of the file as the code says it; needs every extra."""
    from guidekit.installed import load_domain
    from guidekit.running.build import OF_PRIORS

    def members(group: str) -> dict[str, Any]:
        found = {name: entry for name, entry in registry.entries(group).items() if not entry.package}
        return {name: described(group, name, entry.load()) for name, entry in found.items()}

    return {
        "domains": {
            entry.name: {"class": entry.value, **of_domain(load_domain(entry.name))}
            for entry in _entries()
            if entry.value.startswith("guidekit.")
        },
        "guidance": members("guidance"),
        "samplers": members("sampler"),
        "rewards": {name: first_line(kind) for name, kind in OF_PRIORS.items()},
    }


def of_domain(domain: Any) -> dict[str, Any]:
    """What is told of a domain."""
    return {
        "objects": domain.objects,
        "rewards": {name: of_reward(domain.rewards.kind(name)) for name in sorted(domain.rewards)},
        "tasks": {name: first_line(make) for name, make in domain.tasks.items()},
        "priors": domain.priors(),
    }


def of_reward(kind: Callable[..., Any]) -> dict[str, Any]:
    """What is told of a reward."""
    from guidekit.running.settings import configuration

    return {"what": first_line(kind), "settings": configuration(kind)}


def first_line(target: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return (inspect.getdoc(target) or "").split("\n\n")[0].replace("\n", " ")


PAGE = Path(__file__).parents[2] / "docs" / "guidance" / "README.md"
"""Of a checkout: the page with a table of all guidances."""

MARKS = ("<!-- guidances: derived from declarations -->\n", "<!-- end of guidances -->")


def with_table(page: str, content: Mapping[str, Any]) -> str:
    """The text of that page with its table as the catalog has it, by place and name; links to pages are kept."""
    from guidekit.core.requirements import Layer

    head, _, rest = page.partition(MARKS[0])
    old, _, tail = rest.partition(MARKS[1])
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in old.splitlines()[2:]]
    links = {cell[0].strip("`"): cell[2] for cell in cells}
    order = [layer.name.lower() for layer in Layer]
    entries = {name: entry for name, entry in registry.entries("guidance").items() if not entry.package}
    told = {name: content["guidance"][name] for name in entries}
    lines = ["| `guidance=` | in Python | page | needs | works on | place |", "|---|---|---|---|---|---|"]
    for name in sorted(told, key=lambda name: (order.index(told[name]["place"].split(", ")[-1]), name)):
        one = told[name]
        link = links.get(name, "-")
        lines.append(
            f"| `{name}` | `{entries[name].attribute}` | {link} | {one['needs']} | {one['on']} | {one['place']} |"
        )
    return head + MARKS[0] + "\n".join(lines) + "\n" + MARKS[1] + tail


if __name__ == "__main__":
    FILE.write_text(json.dumps(made(), indent=1, ensure_ascii=False) + "\n")
    if PAGE.is_file():
        PAGE.write_text(with_table(PAGE.read_text(), json.loads(FILE.read_text())))
