"""Configuration from the command line: Hydra's grammar, with one-line answers to wrong names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guidekit.errors import UnknownNameError
from guidekit.running.catalog import shipped
from guidekit.running.declared import COMMANDS, of_command
from guidekit.running.groups import (
    CONFIGS,
    DOMAIN,
    SPECIAL,
    check_registered,
    check_types,
    config_packages,
    flat_keys,
    group_choices,
    groups,
    groups_of,
    has_file,
    load_command,
    load_group,
    plain,
)


class UsageError(ValueError):
    """A command line that cannot be understood; the message says what was wrong and what is accepted."""


def rewrite(arguments: Sequence[str]) -> list[str]:
    """Short forms spelled out: reward=module:function names a user's function, data=a=one.fasta,b=two.fasta classes."""
    rewritten = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "reward" and ":" in value:
            rewritten += ["reward=function", f"reward.path={value}"]
        elif key == "data" and ("," in value or "=" in value) and not value.startswith(("'", '"')):
            rewritten.append(f'data="{value}"')
        else:
            rewritten.append(argument)
    return rewritten


def compose(command: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of a command.

    Args:
        command: name of a top-level YAML file (sample, train, evaluate, bench).
        arguments: overrides such as "num_samples=64" and group choices such as "guidance=svdd".

    Raises:
        UsageError: an override that is no key=value, or a value that cannot be parsed.
        UnknownNameError: a group choice or key that does not exist; the nearest one is named.
        ValueError: a value of another type than the shipped one (see `check_types`).
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import open_dict
    from omegaconf.errors import OmegaConfBaseException

    refuse_hydra(arguments)
    refuse_classes(arguments)
    chosen: list[str] = []
    keyed: list[str] = []
    for argument in rewrite(arguments):
        key, equals, value = argument.partition("=")
        if not equals:
            raise UsageError(
                f"{argument!r} is no setting; write key=value, such as num_samples=64 (quote values with blanks)"
            )
        (chosen if key in groups() else keyed).append(argument)
    refuse_groups(command, chosen)
    for argument in chosen:
        group, _, name = argument.partition("=")
        refuse_choice(group, name, domains_of(chosen))
    if command == "train":
        refuse_trainer(chosen)
    store(chosen)
    chosen = [*chosen, *search_path()]
    with hydra.initialize_config_module(CONFIGS, version_base=None):
        try:
            composed = hydra.compose(command, [*chosen, *keyed], return_hydra_config=True)
            choices = composed.hydra.runtime.choices
            with open_dict(composed):
                del composed["hydra"]
            config = plain(composed)
        except (HydraException, OmegaConfBaseException) as error:
            known = flat_keys(plain(hydra.compose(command, chosen)))
            for argument in keyed:
                key = argument.partition("=")[0]
                if key.lstrip("+~") not in known:
                    raise UnknownNameError(f"setting of guidekit {command}", key, siblings(key, known)) from None
            raise UsageError(told(str(error))) from error
        if keyed:
            usual = load_command(command, choices)
            refuse_added(command, keyed, flat_keys(usual))
            check_types(usual, config, of_command(command))
            refuse_classes(config)
        check_registered(config)
        refuse_prior(config)
        return config


def refuse_prior(config: Mapping[str, Any]) -> None:
    """Raise UnknownNameError where `prior` is nearly a shipped one of the domain and no path."""
    name, domain = config.get("prior"), shipped()["domains"].get((config.get("domain") or {}).get("name"))
    if not isinstance(name, str) or domain is None or not domain["priors"]:
        return
    known = ["default", *domain["priors"]]
    near = difflib.get_close_matches(name, known, 1)
    if near and name not in known and not Path(name).suffix and not Path(name).expanduser().exists():
        raise UnknownNameError("prior", name, [*dict.fromkeys(known), "a path ending in .safetensors"])


def refuse_added(command: str, settings: Sequence[str], known: Sequence[str]) -> None:
    """Raise UnknownNameError where +key=value adds what nothing reads; only options of networks and limits are open."""
    for setting in settings:
        key = setting.partition("=")[0]
        if key.startswith("+") and key.lstrip("+") not in known and ".options." not in key:
            raise UnknownNameError(f"setting of guidekit {command}", key, siblings(key.lstrip("+"), known))


def refuse_groups(command: str, settings: Sequence[str]) -> None:
    """Raise UsageError for a group of settings of another command, as in guidekit evaluate reward=qed."""
    own = groups_of(command)
    for setting in settings:
        group = setting.partition("=")[0].lstrip("+~").partition("@")[0]
        if group in groups() and group not in own:
            takers = " or ".join(one for one in COMMANDS if group in groups_of(one))
            raise UsageError(f"guidekit {command} takes no {group}= (a group of {takers}); it takes {', '.join(own)}")


def refuse_choices(settings: Sequence[str]) -> None:
    """Raise UnknownNameError for a group choice that does not exist, also one of several, as in guidance=svdd,fk."""
    for setting in settings:
        key, equals, value = setting.partition("=")
        group = key.lstrip("+").partition("@")[0]
        if not equals or group not in groups() or value.startswith("glob("):
            continue
        for name in re.findall(r"[^,()\s]+(?=[,)\s]|$)", value):  # not the function in choice(svdd,fk_steering)
            refuse_choice(group, name, domains_of(settings))


def refuse_trainer(settings: Sequence[str]) -> None:
    """Raise UsageError where no trainer is chosen and the domain has none of its own."""
    for domain in () if mentioned("trainer", settings) else domains_of(settings):
        if not has_file("trainer", domain):
            raise UsageError(
                f"domain {domain} brings no trainer/{domain}.yaml: give trainer={' or '.join(group_choices('trainer'))}"
            )


def refuse_choice(group: str, name: str, domains: Sequence[str]) -> None:
    """Raise UnknownNameError for a member that a group has not; of rewards, one that none of the domains has."""
    if group != "reward" or has_file(group, name):
        if name not in group_choices(group):
            raise UnknownNameError(group, name, group_choices(group))
    elif not any(name in group_choices(group, domain) for domain in domains):
        others = [one for one in shipped()["domains"] if name in group_choices(group, one)]
        if others:
            given = " or ".join(f"domain={each}" for each in others)
            raise UsageError(f"reward {name!r} is of domain {' or '.join(others)}: give {given}")
        if "/" in name or Path(name).is_file():
            raise UsageError(f"no reward named {name!r}; a program is a reward by reward=command reward.command={name}")
        raise UnknownNameError(group, name, {one for domain in domains for one in group_choices(group, domain)})


def mentioned(group: str, settings: Sequence[str]) -> list[str]:
    """Members of a group that are chosen; all of them by a pattern."""
    found: list[str] = []
    for setting in settings:
        key, _, value = setting.partition("=")
        if key.lstrip("+").partition("@")[0] == group:
            names = group_choices(group) if "glob(" in value else re.findall(r"[^,()\s]+(?=[,)\s]|$)", value)
            found += [name for name in names if name in group_choices(group) or group == "reward"]
    return found


def domains_of(settings: Sequence[str]) -> list[str]:
    """The domains that are chosen, or the one that stands for none."""
    return mentioned("domain", settings) or [DOMAIN]


def store(settings: Sequence[str]) -> None:
    """Tell Hydra of what has no file: what is chosen with its settings, all else by name.

    Raises:
        BrokenError: something chosen cannot be loaded.
    """
    from hydra.core.config_store import ConfigStore

    known = ConfigStore.instance().repo
    for group in (*SPECIAL, "domain", "reward"):
        wanted, there = mentioned(group, settings), known.get(group, ())
        for name in {*group_choices(group), *wanted}:
            if has_file(group, name) or (f"{name}.yaml" in there and name not in wanted):
                continue
            node: dict[str, Any] = {"name": name}
            if name in wanted or name in SPECIAL.get(group, ()):
                owners = [one for one in domains_of(settings) if group != "reward" or name in group_choices(group, one)]
                node = load_group(group, name, *owners[:1])
            ConfigStore.instance().store(name, node, group)


def search_path() -> list[str]:
    """Where Hydra finds files of other packages, as a setting of its own."""
    others = [f"pkg://{package}" for package in config_packages()[1:]]
    return [f"hydra.searchpath=[{','.join(others)}]"] if others else []


HELP = """${hydra.help.header}
== Settings that are chosen by name (%s=...) ==
%s

== All settings ==
$CONFIG
${hydra.help.footer}
"""


def helping(command: str, settings: Sequence[str]) -> list[str]:
    """Where help is asked for, the setting of Hydra that has it list the groups of the command, and no others."""
    if not {"--help", "-h"} & set(settings):
        return []
    from hydra.core.config_store import ConfigStore

    groups = groups_of(command)
    text = HELP % (groups[0], "\n".join(f"{group}: {', '.join(group_choices(group))}" for group in groups))
    ConfigStore.instance().store("guidekit", {"template": text}, "hydra/help", "hydra.help")
    return ["hydra/help=[default,guidekit]"]


def refuse_classes(given: Sequence[str] | Mapping[str, Any], place: str = "") -> None:
    """Refuse a class named by `_target_`, in settings as they were written or in what they have become.

    Raises:
        UsageError: with where it stands.
    """
    if isinstance(given, str):
        found = given if "_target_" in given else None
    elif isinstance(given, Mapping):
        found = next((f"{place}{key}" for key in given if "_target_" in str(key)), None)
        for key, value in given.items():
            refuse_classes(value, f"{place}{key}.") if isinstance(value, Mapping | list | tuple) else None
    else:
        found = None
        for value in given:
            refuse_classes(value, place) if isinstance(value, Mapping | list | tuple | str) else None
    if found is not None:
        raise UsageError(
            f"{found}: settings name no classes; choose by name, as in guidance=svdd or {{name: svdd, ...}}"
        )


FLAGS = (
    *("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i"),
    *("--run", "-r", "--multirun", "-m", "--shell-completion", "-sc"),
)
"""Flags of Hydra that read nothing but what ships; the others load settings, or a pickle, of the user's own."""

OF_HYDRA = re.compile(
    r"[+]*(hydra\.(run\.dir|sweep\.(dir|subdir)|verbose|job\.(name|chdir))=([^{}]|\$\{now:[^{}]*\})*"
    r"|hydra/(launcher|sweeper)=\w+|hydra\.(launcher|sweeper)(\.(?!_)\w+)+=[^{}()\[\]$]*)"
)
"""Settings of Hydra itself that name no class and no file to be read."""


def refuse_hydra(settings: Sequence[str]) -> None:
    """Refuse flags and settings of Hydra by which it would import classes, or files that did not come with guidekit.

    Raises:
        ValueError: with what is accepted.
    """
    for setting in settings:
        name, equals, _ = setting.partition("=")
        if setting.startswith("-") and name not in FLAGS:
            raise UnknownNameError("flag", name, FLAGS)
        if equals and re.search(r"\bhydra\b", name) and not OF_HYDRA.fullmatch(setting):
            raise UsageError(
                f"{setting!r}: of Hydra's own settings, hydra.run.dir, hydra.sweep.dir, hydra.sweep.subdir, "
                "hydra.verbose, hydra.job, hydra/launcher, hydra/sweeper and plain options of these are accepted"
            )


def told(message: str) -> str:
    """The first line of a message of Hydra, with the usual remedy where a value needs quotes or the shell took them."""
    first = message.splitlines()[0]
    override = re.fullmatch("Error parsing override '(.*)'", first)
    key, _, value = override[1].partition("=") if override else ("key", "", "value")
    if not override and not first.startswith(GRAMMAR):
        return first
    return f"{first}; a value with commas or other special characters needs quotes: '{key}=\"{value}\"'"


GRAMMAR = ("mismatched input", "token recognition", "extraneous input", "no viable", "Ambiguous")
"""How messages of Hydra's grammar begin."""


def siblings(key: str, known: Sequence[str]) -> list[str]:
    """The settings a mistyped one may have meant: those of its group, or all where there is no such group."""
    group = key.rpartition(".")[0]
    return [name for name in known if group and name.startswith(f"{group}.")] or list(known)
