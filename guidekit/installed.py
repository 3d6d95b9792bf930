"""Domains that are installed, here and by other packages, by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from guidekit.domain import Domain
from guidekit.errors import UnknownNameError
from guidekit.extras import missing
from guidekit.registry import settings


def domain_names() -> list[str]:
    """Names of all registered domains, without importing them."""
    return sorted({entry.name for entry in entry_points(group="guidekit.domains")})


def load_domain(name: str, **options: Any) -> Domain:
    """A registered domain by name, made with options.

    Raises:
        UnknownNameError: no such domain.
        MissingExtraError: its extra is not installed.
    """
    return domain_class(name)(**options)


def configured(config: Mapping[str, Any]) -> tuple[Domain, dict[str, Any]]:
    """The domain of a configuration, made with the keys that are its `settings`, and the others, for `Domain.evaluate`.

    Raises:
        UnknownNameError: no such domain.
        ValueError: values of other types than those of its fields, and of the arguments of `evaluate`.
    """
    from guidekit.running.settings import check, converted  # they load torch

    kind = domain_class(config["name"])
    made = {key: config[key] for key in kind.settings() if key in config}
    check(kind, made, f"domain={config['name']}", "domain.")
    rest = {key: value for key, value in config.items() if key != "name" and key not in made}
    for setting in settings(kind.evaluate):
        if setting.name in rest:
            converted(setting, rest[setting.name], None, f"domain.{setting.name}")
    return kind(**made), rest


def domain_class(name: str) -> type[Domain]:
    """The class of a registered domain; raises as `load_domain`."""
    entries = sorted(entry_points(group="guidekit.domains"), key=lambda entry: not entry.value.startswith("guidekit."))
    found = [entry for entry in entries if entry.name == name]
    if not found:
        raise UnknownNameError("domain", name, {entry.name for entry in entries})
    for hidden in found[1:]:
        if hidden.value != found[0].value:
            warnings.warn(f"domain {name!r} from {hidden.value} is hidden by {found[0].value}", stacklevel=2)
    try:
        return found[0].load()
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "guidekit":
            raise
        raise missing(name, error) from error
