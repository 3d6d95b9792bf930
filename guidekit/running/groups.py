"""The groups of configuration files that ship with guidekit."""

from __future__ import annotations

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
