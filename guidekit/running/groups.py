"""The groups of settings of the commands: files of configs/, here and in other packages, and what is registered.

A group's member is the file of its name, or else what the signature of the registered class or function says.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, cast

from guidekit import registry
from guidekit.running.catalog import shipped
from guidekit.running.declared import BY_DEFAULT, Kind, refuse

CONFIGS = "guidekit.configs"

NONE: dict[str, Any] = {"name": None}
SPECIAL: dict[str, dict[str, dict[str, Any]]] = {
    "guidance": {"none": NONE, "chain": {"name": "chain", "of": []}},
    "sampler": {"default": NONE},
}
"""Members of groups of the registry that stand for no class: nothing, and several guidances, inside first."""

OF_ALL_TASKS = ("input", "second", "truth", "noise_std", "add_noise", "damaged")
"""Settings that all tasks share; the others go to the task."""

DOMAIN = "molecules"
"""The domain where none is named."""


@cache
def config_packages() -> tuple[str, ...]:
    """Packages with files for groups: this one, then those named in the entry point group guidekit.configs."""
    return (CONFIGS, *sorted({point.value for point in entry_points(group="guidekit.configs")}))


@cache
def _files(group: str) -> dict[str, Traversable]:
    """The files of a group by name; the first package that has one counts."""
    found: dict[str, Traversable] = {}
    for package in config_packages():
        folder = files(package).joinpath(group)
        for item in folder.iterdir() if folder.is_dir() else ():
            if item.name.endswith(".yaml"):
                found.setdefault(item.name[:-5], item)
    return found


@cache
def group_choices(group: str, domain: str | None = None) -> list[str]:
    """Names of the members of a group.

    Args:
        group: its name.
        domain: whose rewards are meant; None are those of all domains that ship.
    """
    found = {*_files(group), *SPECIAL.get(group, ())}
    if group in SPECIAL:
        found.update(registry.entries(group))
    if group == "domain":
        found.update(point.name for point in entry_points(group="guidekit.domains"))
    if group == "reward":
        found.update(_rewards(domain))
    return sorted(found)


def _rewards(domain: str | None) -> set[str]:
    """Names of the rewards of a domain; of one that ships without importing it."""
    points = (point.name.rpartition(".") for point in entry_points(group="guidekit.rewards"))
    found = {name for of, _, name in points if domain in (None, of)}
    for known, told in shipped()["domains"].items():
        if domain in (None, known):
            found.update(told["rewards"])
    if domain is not None and domain not in shipped()["domains"]:
        from guidekit.installed import domain_class

        found.update(domain_class(domain).kinds)
    return found


@cache
def groups() -> list[str]:
    """Names of all groups."""
    folders = {item.name for item in files(CONFIGS).iterdir() if item.is_dir() and not item.name.startswith("_")}
    return sorted({*folders, *SPECIAL})


def flat_keys(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all settings, such as guidance.alpha."""
    names = []
    for key, value in config.items():
        if str(key).startswith("_"):
            continue
        names.append(prefix + key)
        if isinstance(value, Mapping):
            names += flat_keys(value, f"{prefix}{key}.")
    return names


@cache
def groups_of(command: str) -> tuple[str, ...]:
    """Groups that have settings of a command."""
    defaults = _read(files(CONFIGS).joinpath(f"{command}.yaml"))["defaults"]
    return tuple(name for one in defaults if isinstance(one, Mapping) for name in one)


def plain(config: Any) -> dict[str, Any]:
    """A configuration of Hydra as plain values, references resolved."""
    from omegaconf import OmegaConf

    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def _read(file: Traversable) -> dict[str, Any]:
    """A file of settings; the caller's own."""
    return copy.deepcopy(_parsed(file.read_text()))


@cache
def _parsed(text: str) -> dict[str, Any]:
    from omegaconf import OmegaConf

    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(text)))


def has_file(group: str, name: str) -> bool:
    """Whether a member of a group has its settings in a file."""
    return name in _files(group)


def load_group(group: str, name: str, domain: str = DOMAIN) -> dict[str, Any]:
    """The settings of a member of a group; what is registered is imported for it.

    Args:
        group, name: of the member.
        domain: whose rewards are meant.
    """
    if has_file(group, name):
        return _read(_files(group)[name])
    if name in SPECIAL.get(group, ()):
        return dict(SPECIAL[group][name])
    from guidekit.running.settings import configuration

    return {"name": name, **configuration(_kind(group, name, domain))}


def _kind(group: str, name: str, domain: str) -> Any:
    """The class or function behind a member of a group without a file."""
    if group in SPECIAL:
        return registry.get(group, name)
    from guidekit.installed import domain_class
    from guidekit.rewards import Rewards

    return domain_class(name) if group == "domain" else Rewards(domain_class(domain)).kind(name)


def load_command(name: str, choices: Mapping[str, str]) -> dict[str, Any]:
    """The shipped settings of a command, with those of the chosen members of its groups."""
    content = _read(files(CONFIGS).joinpath(f"{name}.yaml"))
    own = {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
    domain = choices.get("domain") or DOMAIN
    return own | {group: load_group(group, choices[group], domain) for group in groups() if choices.get(group)}


def check_types(
    shipped: Mapping[str, Any], given: Mapping[str, Any], declared: Mapping[str, Kind], prefix: str = ""
) -> None:
    """Refuse values that are not what is declared, or else not of the type of the shipped ones.

    What is registered has types of its own, see `check_registered`.

    Args:
        shipped: settings with what stands there where nothing is given.
        given: settings to check.
        declared: kinds by dotted name, see `guidekit.running.declared`.
        prefix: of the names, such as "trainer.".

    Raises:
        ValueError: with the setting, the value and what is accepted.
    """
    for key, default in shipped.items():
        name, value = f"{prefix}{key}", given.get(key, default)
        if not prefix and is_registered(key, default):
            continue
        kind = declared.get(name, BY_DEFAULT.get(type(default)))
        if kind is not None and not (value == MISSING and default == MISSING):
            refuse(name, value, kind, default)
        if isinstance(default, Mapping) and isinstance(value, Mapping):
            check_types(default, value, declared, f"{name}.")


MISSING = "???"
"""What stands in a configuration for a setting that has to be given."""


def is_registered(group: str, config: Any) -> bool:
    """Whether settings are those of something registered, and not of a file."""
    named = isinstance(config, Mapping) and config.get("name") is not None
    return named and group in (*SPECIAL, "reward") and not has_file(group, str(config["name"]))


def check_registered(config: Mapping[str, Any]) -> None:
    """Refuse settings of guidance, sampler and reward that their classes do not take; builds nothing, reads no file.

    Raises:
        ValueError: with the setting and what is accepted.
    """
    for group in (*SPECIAL, "reward"):
        given = config.get(group)
        if given is not None and not isinstance(given, Mapping):
            raise ValueError(f"{group}={given!r}; one of {', '.join(group_choices(group))} is needed")
        if given is not None and is_registered(group, given):
            check_member(group, given, config.get("domain"), f"{group}.")


def check_member(group: str, given: str | Mapping[str, Any], domain: Any = None, place: str = "") -> None:
    """See `check_registered`; of a chain every member."""
    from guidekit.running.settings import check

    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = options.pop("name", None)
    if name == "chain" and group == "guidance":
        for one in chained(options):
            check_member(group, one)
    else:
        owner = str(domain["name"]) if isinstance(domain, Mapping) else DOMAIN
        check(_kind(group, str(name), owner), options, f"{group}={name}", place)


def chained(options: Mapping[str, Any]) -> list[str | Mapping[str, Any]]:
    """The members of a chain, from its settings.

    Raises:
        ValueError: none, or no list.
    """
    members = options.get("of")
    unknown = [key for key in options if key not in ("of", "name")]
    if unknown or not isinstance(members, list | tuple) or not members:
        raise ValueError("guidance=chain needs guidance.of=[svdd,best_of_n], names or {name: ..., setting: ...}")
    for member in members:
        if not isinstance(member, str | Mapping):
            raise ValueError(f"guidance.of: {member!r} is no guidance; write its name, or {{name: ..., setting: ...}}")
    return list(members)
