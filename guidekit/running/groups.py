"""The groups of configuration files that ship with guidekit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

CONFIGS = "guidekit.configs"


@cache
def group_choices(group: str) -> list[str]:
    """Names of the YAML files of a configuration group."""
    folder = files(CONFIGS).joinpath(group)
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))


@cache
def groups() -> list[str]:
    """Names of all configuration groups."""
    return sorted(item.name for item in files(CONFIGS).iterdir() if item.is_dir() and not item.name.startswith("_"))


def load_group(group: str, name: str) -> dict[str, Any]:
    """The content of one YAML file of a group."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create(files(CONFIGS).joinpath(group, f"{name}.yaml").read_text()))


def load_command(name: str, choices: Mapping[str, str]) -> dict[str, Any]:
    """The shipped settings of a command, with those of the chosen files of its groups."""
    from omegaconf import OmegaConf

    content = OmegaConf.to_container(OmegaConf.create(files(CONFIGS).joinpath(f"{name}.yaml").read_text()))
    own = {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
    return own | {group: load_group(group, choices[group]) for group in groups() if choices.get(group)}


KINDS = {bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a mapping"}
"""What a value may be, by the type of the shipped one. Where that is null or text, anything may stand."""

MAY_BE_NULL = ("ess_threshold", "timeout")
"""Numbers that may be left out."""


def check_types(shipped: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse values that are no number, no list, ... where the shipped configuration has one.

    Raises:
        ValueError: with the setting, the value and what is accepted.
    """
    for key, default in shipped.items():
        value, kind = given.get(key, default), type(default)
        if kind not in KINDS or (value is None and key in MAY_BE_NULL):
            continue
        accepted = {float: (int, float), list: (list, tuple)}.get(kind, kind)
        if not isinstance(value, accepted) or (kind is bool) != isinstance(value, bool):
            raise ValueError(f"{prefix}{key}={value!r}; {KINDS[kind]} is needed (shipped: {default})")
        if kind is dict:
            check_types(default, value, f"{prefix}{key}.")
