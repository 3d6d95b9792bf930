"""What `guidekit list` says of each thing, written down in catalog.json so that it can be told without loading torch.

`python -m guidekit.cli.catalog` writes the file anew from the docstrings; a test says when that is due.
"""

from __future__ import annotations

import inspect
import json
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points, requires
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("catalog.json")

WANTS = {
    "reward": "reward (any)",
    "objective": "differentiable objective, real-valued states",
    "likelihood": "differentiable likelihood, real-valued states",
    "verifier": "domain with a verifier, tokens",
    "value": "value (guidekit train trainer=value)",
}
"""What a guidance cannot work without, by the names of its parameters."""

STATES = {
    "GaussianProcess": "real-valued",
    "ReflectedProcess": "reals in a box",
    "DiscreteProcess": "tokens",
    "Masked": "masked tokens",
}


def catalog() -> dict[str, Any]:
    """The content of the file, with the domains that are registered now."""
    content = json.loads(FILE.read_text())
    content["domains"] = {entry.name: _domain(entry, content["domains"].get(entry.name)) for entry in _entries()}
    return content


def _entries() -> list[EntryPoint]:
    return sorted(entry_points(group="guidekit.domains"), key=lambda entry: entry.name)


def _domain(entry: EntryPoint, known: dict[str, Any] | None) -> dict[str, Any]:
    if known is None or known["class"] != entry.value:
        from guidekit.domain import MissingExtraError, load_domain

        try:
            return described(load_domain(entry.name))
        except MissingExtraError as error:
            return {"objects": str(error), "rewards": {}, "tasks": {}, "priors": {}}
    gone = lacking(entry.name)
    if not gone:
        return known
    told = f'{known["objects"]} (not installed: {", ".join(gone)}; pip install "guidekit[{entry.name}]")'
    return {**known, "objects": told}


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
    from guidekit.domain import load_domain
    from guidekit.running.build import OF_PRIORS
    from guidekit.running.groups import group_choices, load_group
    from guidekit.running.targets import target

    def classes(group: str) -> dict[str, Any]:
        named = {name: load_group(group, name)["_target_"] for name in group_choices(group)}
        return {name: target(one) for name, one in named.items() if one is not None}

    def states(kind: Any) -> str:
        return ", ".join(STATES[process.__name__] for process in kind.processes)

    return {
        "domains": {
            entry.name: {"class": entry.value, **described(load_domain(entry.name))}
            for entry in _entries()
            if entry.value.startswith("guidekit.")
        },
        "guidance": {
            name: {"what": first_line(kind), "needs": needs(kind)} for name, kind in classes("guidance").items()
        },
        "samplers": {
            name: {"what": first_line(kind), "states": states(kind)} for name, kind in classes("sampler").items()
        },
        "rewards": {name: first_line(kind) for name, kind in OF_PRIORS.items()},
    }


def described(domain: Any) -> dict[str, Any]:
    """What is told of a domain."""
    return {
        "objects": domain.objects,
        "rewards": {name: first_line(kind) for name, kind in domain.rewards.kinds.items()},
        "tasks": {name: first_line(make) for name, make in domain.tasks.items()},
        "priors": domain.priors(),
    }


def needs(target: object) -> str:
    """What a guidance cannot work without: its own `needs`, otherwise what its parameters say."""
    parameters = dict(inspect.signature(target).parameters)
    if "value" in parameters and parameters["value"].default is not inspect.Parameter.empty:
        del parameters["value"]  # it may be given, it need not
    found = getattr(target, "needs", None) or [text for key, text in WANTS.items() if key in parameters]
    return ", ".join(found) or "-"


def first_line(target: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return (inspect.getdoc(target) or "").split("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    FILE.write_text(json.dumps(made(), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
